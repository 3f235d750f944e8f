package vistaopt

import "fmt"

// Duration is a time in seconds as words for people, in the unit that fits and to two digits or so: 0.4 ms, 3.2 s, 17 min.
func Duration(s float64) string {
	switch {
	case s == 0:
		return "0 s"
	case s < 0.0095:
		return fmt.Sprintf("%.2g ms", 1000*s)
	case s < 0.095:
		return fmt.Sprintf("%.0f ms", 1000*s)
	case s < 9.95:
		return fmt.Sprintf("%.1f s", s)
	case s < 99.5:
		return fmt.Sprintf("%.0f s", s)
	case s < 3*3600:
		return fmt.Sprintf("%.0f min", s/60)
	}
	return fmt.Sprintf("%.1f h", s/3600)
}
