package cluster

import (
	"cmp"
	"fmt"
)

// waits is what a queued job waits for; "": nothing. It is called with m.mu held.
func (m *jobs) waits(b *book) string {
	if m.running >= m.most {
		return fmt.Sprintf("%d jobs run, as many as may at once", m.running)
	}
	if n, limit := m.count(b.User, Running), of(m.limits.Jobs, b.User); limit > 0 && n >= limit {
		return fmt.Sprintf("%d jobs of %s run, as many as may at once", n, named(b.User))
	}
	return ""
}

// count is how many jobs of a user are in a state.
func (m *jobs) count(user string, s State) (n int) {
	for _, b := range m.order {
		if b.User == user && b.State == s {
			n++
		}
	}
	return n
}

// Limits are those of users; 0: none. "*" stands for users who are not named.
type Limits struct {
	Jobs   map[string]int // of a user that run at once; others wait
	Slots  map[string]int // of workers that a user's jobs take at once
	Queued int            // jobs of each user that wait; more are refused
}

// of is a user's limit.
func of(limits map[string]int, user string) int {
	if n, ok := limits[user]; ok {
		return n
	}
	return limits["*"]
}

// named is a user in words.
func named(user string) string { return cmp.Or(user, "users without a name") }
