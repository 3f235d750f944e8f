package machine

import (
	"net"
	"os"
	"strings"
)

// Names are the names and addresses by which a store may know this machine: a hint, so what cannot be found out is left out.
func Names() []string {
	var out []string
	if host, err := os.Hostname(); err == nil {
		out = append(out, host)
		if short, _, ok := strings.Cut(host, "."); ok {
			out = append(out, short)
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return out
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			out = append(out, ip.IP.String())
		}
	}
	return out
}
