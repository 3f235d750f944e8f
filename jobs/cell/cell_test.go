package cell

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

func TestNumberAndText(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		v    Value
		text string
		num  float64
	}{
		{Type{Kind: Bool}, Value{Int: 1}, "true", 1},
		{Type{Kind: Int}, Value{Int: -7}, "-7", -7},
		{Type{Kind: Uint}, Value{Int: -1}, "18446744073709551615", 18446744073709551615},
		{Type{Kind: Float64}, Value{Float: 1}, "1", 1},
		{Type{Kind: Float64}, Value{Float: 1e6}, "1000000", 1e6},
		{Type{Kind: Float64}, Value{Float: 1e300}, "1e+300", 1e300},
		{Type{Kind: Float32}, Value{Float: float64(float32(0.1))}, "0.1", float64(float32(0.1))},
		{Type{Kind: Decimal, Scale: 2}, Value{Int: -5}, "-0.05", -0.05},
		{Type{Kind: Decimal, Scale: 0}, Value{Int: 12}, "12", 12},
		{Type{Kind: Decimal, Scale: 3}, Value{Bytes: []byte{0xff, 0x38}}, "-0.200", -0.2},
		{Type{Kind: Decimal, Scale: 30}, Value{Bytes: []byte{1}}, "0.000000000000000000000000000001", 1e-30},
		{Type{Kind: Decimal, Scale: 2}, Value{Bytes: []byte{}}, "0.00", 0},
		{Type{Kind: Date}, Value{Int: -1}, "1969-12-31", -1},
		{Type{Kind: Time, Unit: time.Millisecond}, Value{Int: 3_600_500}, "01:00:00.5", 3600.5},
		{Type{Kind: Timestamp, Unit: time.Microsecond}, Value{Int: -1_500_000}, "1969-12-31T23:59:58.5Z", -1.5},
		{Type{Kind: LocalTime, Unit: time.Nanosecond}, Value{Int: 1}, "1970-01-01T00:00:00.000000001", 1e-9},
	} {
		if got := string(c.typ.AppendText(nil, &c.v)); got != c.text {
			t.Errorf("%v %+v is %q, want %q", c.typ, c.v, got, c.text)
		}
		if got, ok := c.typ.Number(&c.v); !ok || got != c.num {
			t.Errorf("%v %+v is %v, %v; want %v", c.typ, c.v, got, ok, c.num)
		}
	}
	id := Value{Bytes: []byte("0123456789abcdef")}
	if got := string(Type{Kind: UUID}.AppendText(nil, &id)); got != "30313233-3435-3637-3839-616263646566" {
		t.Errorf("uuid %q", got)
	}
	if _, ok := (Type{Kind: Text}).Number(&Value{Bytes: []byte("1")}); ok {
		t.Error("text is a number")
	}
}

// A decimal is the number that its digits are in a CSV file, to the last bit.
func TestDecimalsAreWhatTheirDigitsAre(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 20_000 {
		typ := Type{Kind: Decimal, Scale: rnd.IntN(25)}
		v := Value{Int: int64(rnd.Uint64()) >> rnd.IntN(64)}
		if rnd.IntN(3) == 0 {
			v.Bytes = make([]byte, 1+rnd.IntN(16))
			for i := range v.Bytes {
				v.Bytes[i] = byte(rnd.Uint32())
			}
		}
		text := string(typ.AppendText(nil, &v))
		want, err := strconv.ParseFloat(text, 64)
		if got, ok := typ.Number(&v); err != nil || !ok || math.Float64bits(got) != math.Float64bits(want) && got != 0 {
			t.Fatalf("seed %d: %+v with %d places is %v, its digits %s are %v", seed, v, typ.Scale, got, text, want)
		}
		exact, _ := new(big.Rat).SetString(text)
		n := big.NewInt(v.Int)
		if v.Bytes != nil {
			n = bigEndian(v.Bytes)
		}
		scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(typ.Scale)), nil)
		if exact.Cmp(new(big.Rat).SetFrac(n, scale)) != 0 {
			t.Fatalf("seed %d: %+v with %d places is written %s", seed, v, typ.Scale, text)
		}
	}
}
