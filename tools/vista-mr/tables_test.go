package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"
)

// sale is a row of the tables that scripts use, with values missing and a column of categories.
type sale struct {
	ID    string   `parquet:"id" avro:"id"`
	Price *float64 `parquet:"price,optional" avro:"price"`
	Count int64    `parquet:"count" avro:"count"`
	Brand *string  `parquet:"brand,optional" avro:"brand"`
	Fresh bool     `parquet:"fresh" avro:"fresh"`
	Label string   `parquet:"label" avro:"label"`
}

const saleSchema = `{"type":"record","name":"Sale","fields":[{"name":"id","type":"string"},{"name":"price","type":["null","double"]},{"name":"count","type":"long"},
 {"name":"brand","type":["null","string"]},{"name":"fresh","type":"boolean"},{"name":"label","type":"string"}]}`

// tables writes the same table of N rows in every format: tables N DIR. Keys are those of synth.
func tables(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tables N DIR")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	dir := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Join(dir, "parts"), 0o777))
	brands := []string{"acme", "zeta", "b, c", "rare"}
	var rows []sale
	text := "id;price;count;brand;fresh;label\r\n"
	for i := range n {
		r := sale{ID: fmt.Sprintf("r%07d", i), Count: int64(i * 7 % 5), Fresh: i%3 == 0, Label: []string{"no", "yes"}[i*i%7%2]}
		price, brand := "NA", ""
		if i%4 != 1 {
			v := float64(i*i%23) / 7
			r.Price, price = &v, strconv.FormatFloat(v, 'g', -1, 64)
		}
		if i%6 != 2 {
			b := brands[i*5%11%4]
			r.Brand, brand = &b, b
		}
		rows = append(rows, r)
		text += fmt.Sprintf("%s;%s;%d;%s;%v;%s\r\n", r.ID, price, r.Count, brand, r.Fresh, r.Label)
	}
	write := func(name string, b []byte) { ts.Check(os.WriteFile(filepath.Join(dir, name), b, 0o666)) }
	write("t.csv", []byte(text))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write([]byte(text))
	ts.Check(err)
	ts.Check(z.Close())
	write("t.csv.gz", packed.Bytes())
	for name, part := range map[string][]sale{"t.parquet": rows, "parts/part-0.parquet": rows[:n/2], "parts/part-1.parquet": rows[n/2:]} {
		var b bytes.Buffer
		ts.Check(parquet.Write(&b, part, parquet.Compression(&parquet.Snappy)))
		write(name, b.Bytes())
	}
	var b bytes.Buffer
	w, err := ocf.NewWriter(&b, avro.MustParse(saleSchema), ocf.WithCodec(ocf.SnappyCodec()))
	ts.Check(err)
	for i := range rows {
		ts.Check(w.Encode(&rows[i]))
	}
	ts.Check(w.Close())
	write("t.avro", b.Bytes())
	write("bare.csv", []byte(strings.ReplaceAll(text[strings.Index(text, "\n")+1:], ";", "\t")))
	write("parts/_SUCCESS", []byte("no data"))
	whole, err := os.ReadFile(filepath.Join(dir, "t.parquet"))
	ts.Check(err)
	write("cut.parquet", whole[:len(whole)/2])
}
