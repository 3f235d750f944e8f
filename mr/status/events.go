package status

import (
	"fmt"
	"net/http"
	"time"
)

// How events are sent. Tests may not wait so long.
const (
	maxStreams  = 64
	streamLooks = 500 * time.Millisecond
	streamBeats = 10 * time.Second // said then, even if nothing has changed: ages on the page grow
	streamLasts = 10 * time.Minute // a browser connects again
)

// events tells a page, at most twice a second, that something has changed. What, the page asks for.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d pages listen already", maxStreams), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	seen, said := h.o.Source.Changes(), h.o.Now()
	if _, err := fmt.Fprintf(w, "retry: 3000\nid: %d\n\n", seen); err != nil || flush.Flush() != nil {
		return
	}
	looks := time.NewTicker(streamLooks)
	defer looks.Stop()
	end := time.NewTimer(streamLasts)
	defer end.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-end.C:
			return
		case <-looks.C:
			now := h.o.Source.Changes()
			if now == seen && h.o.Now().Sub(said) < streamBeats {
				continue
			}
			seen, said = now, h.o.Now()
			if _, err := fmt.Fprintf(w, "event: changed\nid: %d\ndata: %d\n\n", seen, seen); err != nil || flush.Flush() != nil {
				return
			}
		}
	}
}
