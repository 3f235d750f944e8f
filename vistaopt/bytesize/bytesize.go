// Package bytesize writes numbers of bytes for people.
//
// Invariant: Nearest rounds to the nearest, AtLeast never down and AtMost never up, so that what is needed is never shown
// smaller than it is, nor what there is larger; and two sizes that Distinct shows differ in words where they differ.
//
// Callers are the optimizer, its explanations and the command line. The pages of package mr/status have the same words from a
// function of their own: the engine imports nothing beside itself. It reads no sizes (package conf does), and knows powers of 1,024 only.
package bytesize

import (
	"fmt"
	"math"
	"strconv"
)

const mib, gib = 1 << 20, 1 << 30

// inGiB is the least that AtLeast and AtMost say in GiB.
const inGiB = 10 * gib

var units = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// Nearest is a size with at least two digits: 412 MiB, 1.5 GiB.
func Nearest(n int64) string { return words(n, 2) }

// words is a size with so many digits, or more where its whole units have more.
func words(n int64, digits int) string {
	v, unit := math.Abs(float64(n)), 0
	for unit < len(units)-1 && (v >= 1024 || unit > 0 && decimals(v, digits) == 0 && v >= 1023.5) {
		v, unit = v/1024, unit+1
	}
	d := decimals(v, digits)
	if unit == 0 {
		d = 0 // there are no parts of a byte
	}
	return strconv.FormatFloat(math.Copysign(v, float64(n)), 'f', d, 64) + " " + units[unit]
}

// decimals is how many of so many digits stand behind the point once the number is rounded to them.
func decimals(v float64, digits int) int {
	d := digits - 1
	for ; d > 0; d-- {
		if part := math.Pow10(-d); v < math.Pow10(digits-d)-part/2 {
			break
		}
	}
	return d
}

// Distinct are two sizes in the fewest digits, two at least, in which they differ; the same words twice if they are equal.
func Distinct(a, b int64) (string, string) {
	const all = 22 // digits of the largest number of bytes in the smallest part of its unit
	for digits := 2; ; digits++ {
		if x, y := words(a, digits), words(b, digits); a == b || x != y || digits == all {
			return x, y
		}
	}
}

// AtLeast is a size that is needed, rounded up: whole MiB, and tenths of a GiB from 10 GiB on.
func AtLeast(n int64) string { return whole(n, up) }

// AtMost is a size that there is, rounded down to the same; less than a MiB in whole KiB or bytes.
func AtMost(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < mib:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return whole(n, down)
}

// Part is a part of a sum, to the nearest, in the unit in which AtLeast says the sum.
func Part(n, sum int64) string {
	if Tenths(sum) {
		return fmt.Sprintf("%.1f GiB", float64(n)/gib)
	}
	v := float64(n) / mib
	return strconv.FormatFloat(v, 'f', decimals(v, 2), 64) + " MiB"
}

// Tenths tells whether AtLeast and AtMost say a size in tenths of a GiB.
func Tenths(n int64) bool { return n >= inGiB }

func whole(n int64, round func(n, of int64) int64) string {
	if !Tenths(n) {
		return fmt.Sprintf("%d MiB", round(n, mib))
	}
	// Tenths of a GiB are no whole numbers of bytes: those of n's GiB and of its rest are counted apart.
	tenths := n/gib*10 + round(n%gib*10, gib)
	return fmt.Sprintf("%d.%d GiB", tenths/10, tenths%10)
}

func up(n, of int64) int64   { return (n + of - 1) / of }
func down(n, of int64) int64 { return n / of }

// Flag is a size as flags and job files take it, rounded up to whole MiB: 303MiB.
func Flag(n int64) string { return fmt.Sprintf("%dMiB", up(n, mib)) }
