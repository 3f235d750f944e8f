package s3

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"gopkg.in/ini.v1"
)

// anonymous is the source of requests that nobody has signed.
const anonymous = "none, asking as nobody"

// nobodyFor is how long it counts that no credentials were found: looking for them asks the network.
const nobodyFor = time.Minute

// chain finds credentials: in the settings, in the files of a profile, from a role. The library's own
// chain asks all of them again for every anonymous request, and does not say who has answered.
type chain struct {
	mu       sync.Mutex
	links    []link
	found    *link
	value    credentials.Value
	nobody   time.Time // until when nobody is the answer
	hideable []string
}

type link struct {
	name string
	credentials.Provider
}

func newChain(s *settings) *chain {
	c := &chain{}
	if k := s.Keys; k.Access != "" {
		v := credentials.Value{AccessKeyID: k.Access, SecretAccessKey: k.Secret, SessionToken: k.Token, SignerType: credentials.SignatureV4}
		c.links = append(c.links, link{k.From, &credentials.Static{Value: v}})
		c.hideable = []string{k.Secret, k.Token}
		return c
	}
	for _, file := range profileFiles(s.Files, s.Home) {
		if _, err := os.Stat(file); err == nil {
			c.links = append(c.links, link{fmt.Sprintf("profile %s of %s", s.Profile, file), &credentials.FileAWSCredentials{Filename: file, Profile: section(file, s.Files, s.Home, s.Profile)}})
		}
	}
	switch {
	case s.WebID != "":
		c.links = append(c.links, link{"web identity of " + s.WebID, &credentials.IAM{}})
	case s.Tasks != "":
		c.links = append(c.links, link{"the container's role", &credentials.IAM{}})
	case s.AWS && !s.NoIMDS:
		c.links = append(c.links, link{"the instance's role", &credentials.IAM{}})
	}
	return c
}

// source says who gave the credentials last.
func (c *chain) source() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.found != nil:
		return c.found.name
	case len(c.links) == 0 || !c.nobody.IsZero():
		return anonymous
	case len(c.links) == 1:
		return c.links[0].name
	}
	return "not looked for yet"
}

// hide takes secrets out of a text: nobody knows what a store puts into its messages.
func (c *chain) hide(s string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range append([]string{c.value.SecretAccessKey, c.value.SessionToken}, c.hideable...) {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "[hidden]")
		}
	}
	return s
}

// RetrieveWithCredContext asks one after the other.
func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.links {
		v, err := c.links[i].RetrieveWithCredContext(cc)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			c.found, c.value, c.nobody = &c.links[i], v, time.Time{}
			return v, nil
		}
	}
	c.found, c.value, c.nobody = nil, credentials.Value{}, time.Now().Add(nobodyFor)
	return credentials.Value{SignerType: credentials.SignatureAnonymous}, nil
}

// Retrieve is part of the library's interface.
func (c *chain) Retrieve() (credentials.Value, error) { return c.RetrieveWithCredContext(nil) }

// IsExpired tells the library when to ask again.
func (c *chain) IsExpired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == nil {
		return time.Now().After(c.nobody)
	}
	return c.found.IsExpired()
}

// profileFiles are the files that profiles lie in, the one with credentials first.
func profileFiles(named [2]string, home string) []string {
	config, creds := named[0], named[1]
	var out []string
	if creds == "" && home != "" {
		creds = filepath.Join(home, ".aws", "credentials")
	}
	if config == "" && home != "" {
		config = filepath.Join(home, ".aws", "config")
	}
	for _, f := range []string{creds, config} {
		if f != "" {
			out = append(out, f)
		}
	}
	return out
}

// section is what a profile is called in a file: in the one of settings all but the default have a prefix.
func section(file string, named [2]string, home, profile string) string {
	files := profileFiles(named, home)
	if file == files[len(files)-1] && (named[0] != "" || home != "") && profile != "default" {
		return "profile " + profile
	}
	return profile
}

// readProfile reads the settings of a profile that are not credentials. wanted: somebody has named it.
func readProfile(named [2]string, home, profile string, wanted bool) (map[string]string, error) {
	out := map[string]string{}
	found := false
	for _, file := range profileFiles(named, home) {
		f, err := ini.LoadSources(ini.LoadOptions{AllowNestedValues: true, Loose: true, SkipUnrecognizableLines: true}, file)
		if err != nil {
			return nil, fmt.Errorf("%s cannot be read as a file of profiles", file)
		}
		s, err := f.GetSection(section(file, named, home, profile))
		if err != nil {
			continue // no such profile here
		}
		found = true
		for _, key := range []string{"region", "endpoint_url"} {
			if v := s.Key(key).String(); v != "" {
				out[key] = v
			}
		}
		// What is set for S3 alone wins.
		nested := s.Key("s3").NestedValues()
		if name := s.Key("services").String(); name != "" {
			if services, err := f.GetSection("services " + name); err == nil {
				nested = append(nested, services.Key("s3").NestedValues()...)
			}
		}
		for _, line := range nested {
			key, v, _ := strings.Cut(line, "=")
			if key = strings.TrimSpace(key); key == "endpoint_url" || key == "addressing_style" {
				out[key] = strings.TrimSpace(v)
			}
		}
	}
	if wanted && !found {
		return nil, fmt.Errorf("there is no profile %q", profile)
	}
	return out, nil
}
