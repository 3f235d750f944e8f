package fault

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Op is an operation of a file system, its files and its writers. Closing a file is none:
// nothing depends on it.
type Op uint8

// The operations. Any stands for every one that a rule's action can be done to.
const (
	Any Op = iota
	Open
	Read
	Create
	Write
	Commit
	Abort
	Claim
	Stat
	List
	Remove
	ops
)

var opNames = [ops]string{"any", "open", "read", "create", "write", "commit", "abort", "claim", "stat", "list", "remove"}

// String is the operation's name in rules.
func (o Op) String() string {
	if o < ops {
		return opNames[o]
	}
	return "op " + strconv.Itoa(int(o))
}

// Action is what a rule does to an operation.
type Action uint8

// The actions.
const (
	Fail  Action = iota // nothing is done and an error returned; an Abort is done all the same
	Torn                // a write or read ends after some bytes, a list after some files, with an error
	Lose                // the operation is done, but its reply is an error: commit, claim, remove
	Delay               // the operation is done later
	Hang                // the operation returns when its ctx is done; not read, write and abort, which have none
	Flip                // a read returns one wrong bit and no error
	Down                // from here on every operation fails: the process was cut off from the store
	Full                // from here on create, write, commit and claim fail with errs.NoSpace
	actions
)

var actionNames = [actions]string{"fail", "torn", "lose", "delay", "hang", "flip", "down", "full"}

// String is the action's name in rules.
func (a Action) String() string {
	if a < actions {
		return actionNames[a]
	}
	return "action " + strconv.Itoa(int(a))
}

// applies tells which operations an action can be done to.
func (a Action) applies(o Op) bool {
	switch a {
	case Torn:
		return o == Write || o == Read || o == List
	case Lose:
		return o == Commit || o == Claim || o == Remove
	case Hang:
		return o != Read && o != Write && o != Abort
	case Flip:
		return o == Read
	case Full:
		return o == Create || o == Write || o == Commit || o == Claim
	}
	return a < actions
}

// Rule says what to do to which operations. The zero value of a field does not restrict.
type Rule struct {
	Do    Action
	Op    Op
	Path  string        // '*' stands for any bytes, slashes included, '?' for one byte
	Nth   int           // begin with the n-th operation that matches, counted from 1
	Times int           // this often; 0: once when Nth is set, else always; -1: always
	P     float64       // only this share of them, by a hash of seed, operation, path and how often
	After int64         // Torn: bytes or files that still pass
	By    time.Duration // Delay
	Kind  errs.Kind     // of the error; Unknown: what the action suggests
}

// Matches tells whether the rule is about such a call; Nth, Times and P then decide whether it
// is applied.
func (r Rule) Matches(c Call) bool {
	return (r.Op == Any || r.Op == c.Op) && r.Do.applies(c.Op) && (r.Path == "" || glob(r.Path, string(c.Path)))
}

// kind is the kind of the rule's error.
func (r Rule) kind() errs.Kind {
	switch {
	case r.Kind != errs.Unknown:
		return r.Kind
	case r.Do == Down:
		return errs.Unreachable
	case r.Do == Full:
		return errs.NoSpace
	}
	return errs.Transient
}

// String writes the rule as ParseRules reads it.
func (r Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v", r.Do, r.Op)
	if r.Path != "" {
		fmt.Fprintf(&b, " path=%s", r.Path)
	}
	if r.Nth != 0 {
		fmt.Fprintf(&b, " nth=%d", r.Nth)
	}
	if r.Times != 0 {
		fmt.Fprintf(&b, " times=%d", r.Times)
	}
	if r.P != 0 {
		fmt.Fprintf(&b, " p=%v", r.P)
	}
	if r.After != 0 {
		fmt.Fprintf(&b, " after=%d", r.After)
	}
	if r.By != 0 {
		fmt.Fprintf(&b, " by=%v", r.By)
	}
	if r.Kind != errs.Unknown {
		fmt.Fprintf(&b, " kind=%v", r.Kind)
	}
	return b.String()
}

// ParseRules reads rules as text, one on a line or several with semicolons between them:
//
//	fail write path=*/part-* nth=3 kind=no-space
//	torn write after=4096
//	lose commit nth=1
//	delay read by=50ms p=0.1
//
// After '#' is a comment. The action comes first, then the operation, then any of path, nth,
// times, p, after, by and kind. Paths with blanks cannot be written; '?' matches them.
func ParseRules(text string) ([]Rule, error) {
	var out []Rule
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for part := range strings.SplitSeq(line, ";") {
			words := strings.Fields(part)
			if len(words) == 0 {
				continue
			}
			r, err := parseRule(words)
			if err != nil {
				return nil, errs.E("fault rules", errs.Invalid, fmt.Sprintf("line %d", i+1), fmt.Errorf("%q: %w", strings.Join(words, " "), err))
			}
			out = append(out, r)
		}
	}
	return out, nil
}

func parseRule(words []string) (Rule, error) {
	var r Rule
	action := slices.Index(actionNames[:], words[0])
	if action < 0 {
		return r, fmt.Errorf("no action %q: use one of %s", words[0], strings.Join(actionNames[:], ", "))
	}
	if len(words) == 1 {
		return r, fmt.Errorf("the operation is missing: use one of %s", strings.Join(opNames[:], ", "))
	}
	op := slices.Index(opNames[:], words[1])
	if op < 0 {
		return r, fmt.Errorf("no operation %q: use one of %s", words[1], strings.Join(opNames[:], ", "))
	}
	r.Do, r.Op = Action(action), Op(op)
	if r.Op != Any && !r.Do.applies(r.Op) {
		return r, fmt.Errorf("%v cannot be done to %v", r.Do, r.Op)
	}
	for _, w := range words[2:] {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			return r, fmt.Errorf("%q is not key=value", w)
		}
		if err := r.set(key, value); err != nil {
			return r, fmt.Errorf("%s: %w", key, err)
		}
	}
	if r.Do == Delay && r.By == 0 {
		return r, fmt.Errorf("by=DURATION is missing")
	}
	return r, nil
}

func (r *Rule) set(key, value string) (err error) {
	switch key {
	case "path":
		r.Path = value
	case "nth":
		r.Nth, err = atLeast(value, 1)
	case "times":
		r.Times, err = atLeast(value, -1)
	case "p":
		r.P, err = strconv.ParseFloat(value, 64)
		if err == nil && !(r.P > 0 && r.P <= 1) {
			err = fmt.Errorf("%v is not above 0 and at most 1", r.P)
		}
	case "after":
		var n int
		n, err = atLeast(value, 0)
		r.After = int64(n)
	case "by":
		r.By, err = time.ParseDuration(value)
		if err == nil && r.By <= 0 {
			err = fmt.Errorf("%v is not positive", r.By)
		}
	case "kind":
		err = r.Kind.UnmarshalText([]byte(value))
		if err == nil && r.Kind == errs.Unknown {
			err = fmt.Errorf("no kind %q", value)
		}
	default:
		err = fmt.Errorf("use path, nth, times, p, after, by or kind")
	}
	return err
}

func atLeast(value string, low int) (int, error) {
	n, err := strconv.Atoi(value)
	if err == nil && n < low {
		err = fmt.Errorf("%d is below %d", n, low)
	}
	return n, err
}

// glob matches a whole name; it takes at most len(pattern) * len(name) steps.
func glob(pattern, name string) bool {
	star, back := -1, 0 // the last star, and where in name it ends for now
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, back = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			back++
			p, n = star+1, back
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
