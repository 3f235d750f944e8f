package hadoop

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
)

// reader reads files, and those that they include, into a Config.
type reader struct {
	config *Config
	open   opener
	files  int
	props  int
}

// file reads one file. fs.ErrNotExist, and nothing else of that kind: it is not there.
func (r *reader) file(name string, depth int) error {
	if r.files++; r.files > maxFiles {
		return &Error{File: name, Err: fmt.Errorf("more than %d files include each other", maxFiles)}
	}
	f, err := r.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	if err != nil {
		return &Error{File: name, Err: err}
	}
	defer f.Close() // reading only
	r.config.files = append(r.config.files, name)
	in := &io.LimitedReader{R: f, N: maxFile + 1}
	d := xml.NewDecoder(in)
	d.CharsetReader = latin1
	p := &parser{reader: r, d: d, name: name, depth: depth}
	err = p.document()
	if in.N <= 0 {
		return p.fail(fmt.Errorf("the file has more than %d bytes", maxFile))
	}
	return err
}

// latin1 lets files say that they are written in what old editors write.
func latin1(charset string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "us-ascii", "ascii":
		return in, nil
	case "iso-8859-1", "latin1":
		return &latinReader{in: in}, nil
	}
	return nil, fmt.Errorf("files in %s cannot be read: write it in UTF-8", charset)
}

// latinReader makes UTF-8 of ISO 8859-1.
type latinReader struct {
	in   io.Reader
	left []byte
}

func (l *latinReader) Read(b []byte) (int, error) {
	if len(l.left) == 0 {
		var raw [512]byte
		n, err := l.in.Read(raw[:])
		if n == 0 {
			return 0, err
		}
		for _, c := range raw[:n] {
			l.left = append(l.left, string(rune(c))...)
		}
	}
	n := copy(b, l.left)
	l.left = l.left[n:]
	return n, nil
}

// parser is one file under way.
type parser struct {
	*reader
	d     *xml.Decoder
	name  string
	depth int
}

func (p *parser) line() int {
	line, _ := p.d.InputPos()
	return line
}

func (p *parser) fail(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		return &Error{File: p.name, Line: syntax.Line, Err: errors.New(syntax.Msg)}
	}
	return &Error{File: p.name, Line: p.line(), Err: err}
}

// document reads the root element.
func (p *parser) document() error {
	root := false
	for {
		t, err := p.d.Token()
		if err == io.EOF {
			if !root {
				return p.fail(errors.New("there is no element <configuration>"))
			}
			return nil
		}
		if err != nil {
			return p.fail(err)
		}
		if e, ok := t.(xml.StartElement); ok {
			if root || e.Name.Local != "configuration" {
				return p.fail(fmt.Errorf("<%s> stands where <configuration> should, once", e.Name.Local))
			}
			root = true
			if err := p.elements(e.Name, 0); err != nil {
				return err
			}
		}
	}
}

// maxNested bounds elements within elements.
const maxNested = 32

// elements reads what is inside a <configuration> or a fallback, up to its end.
func (p *parser) elements(of xml.Name, nested int) error {
	if nested > maxNested {
		return p.fail(errors.New("elements are nested too deeply"))
	}
	for {
		t, err := p.d.Token()
		if err != nil {
			return p.fail(unexpected(err, of))
		}
		switch e := t.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			switch e.Name.Local {
			case "property":
				err = p.property(e)
			case "include":
				err = p.include(e, nested)
			case "configuration":
				err = p.elements(e.Name, nested+1)
			default: // Hadoop ignores it, too
				err = p.skip()
			}
			if err != nil {
				return err
			}
		}
	}
}

// skip passes over the rest of an element.
func (p *parser) skip() error {
	if err := p.d.Skip(); err != nil {
		return p.fail(err)
	}
	return nil
}

func unexpected(err error, in xml.Name) error {
	if err == io.EOF {
		return fmt.Errorf("the file ends within <%s>", in.Local)
	}
	return err
}

func attribute(e xml.StartElement, name string) (string, bool) {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value, true
		}
	}
	return "", false
}

// property reads <property>, whose parts are elements or attributes.
func (p *parser) property(e xml.StartElement) error {
	prop := property{file: p.name, line: p.line()}
	name, _ := attribute(e, "name")
	value, has := attribute(e, "value")
	final, _ := attribute(e, "final")
	for {
		t, err := p.d.Token()
		if err != nil {
			return p.fail(unexpected(err, e.Name))
		}
		if _, end := t.(xml.EndElement); end {
			break
		}
		part, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch part.Name.Local {
		case "name", "value", "final":
			text, err := p.text(part)
			if err != nil {
				return err
			}
			switch part.Name.Local {
			case "name":
				name = text
			case "value":
				value, has = text, true
			case "final":
				final = text
			}
		default: // description, source, tag
			if err := p.skip(); err != nil {
				return err
			}
		}
	}
	name = strings.TrimSpace(name)
	if name == "" {
		return p.fail(errors.New("a <property> has no <name>"))
	}
	if !has {
		return nil // as Hadoop: it is not set
	}
	if len(value) > maxValue {
		return p.fail(fmt.Errorf("the value of %.100s has more than %d bytes", name, maxValue))
	}
	if r := p.reader; r.props >= maxProperties {
		return p.fail(fmt.Errorf("more than %d properties", maxProperties))
	}
	p.reader.props++
	prop.value = value
	prop.final = strings.EqualFold(strings.TrimSpace(final), "true")
	p.config.set(name, prop)
	return nil
}

// text reads an element without others inside.
func (p *parser) text(e xml.StartElement) (string, error) {
	var b strings.Builder
	for {
		t, err := p.d.Token()
		if err != nil {
			return "", p.fail(unexpected(err, e.Name))
		}
		switch t := t.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.EndElement:
			return b.String(), nil
		case xml.StartElement:
			return "", p.fail(fmt.Errorf("<%s> stands inside <%s>", t.Name.Local, e.Name.Local))
		}
	}
}

// include reads <xi:include href="FILE">, whose <xi:fallback> holds where the file is missing.
func (p *parser) include(e xml.StartElement, nested int) error {
	href, _ := attribute(e, "href")
	line := p.line()
	bad := func(err error, fix string) error { return &Error{File: p.name, Line: line, Err: err, Fix: fix} }
	if href == "" {
		return bad(errors.New("an include has no href"), "")
	}
	if rest, ok := strings.CutPrefix(href, "file:"); ok {
		href = "/" + strings.TrimLeft(rest, "/")
	}
	if strings.Contains(href, "://") {
		return bad(fmt.Errorf("%q is included, and only files of this machine are", href), "copy it, and include the copy")
	}
	if p.depth >= maxDepth {
		return bad(fmt.Errorf("files include each other more than %d deep", maxDepth), "does a file include itself?")
	}
	if !filepath.IsAbs(href) {
		href = filepath.Join(filepath.Dir(p.name), href)
	}
	err := p.file(href, p.depth+1)
	missing := err == fs.ErrNotExist
	if err != nil && !missing {
		return err
	}
	fallback := false
	for {
		t, err := p.d.Token()
		if err != nil {
			return p.fail(unexpected(err, e.Name))
		}
		switch t := t.(type) {
		case xml.EndElement:
			if missing && !fallback {
				return bad(fmt.Errorf("the included file %s is not there", href), "")
			}
			return nil
		case xml.StartElement:
			if t.Name.Local == "fallback" && missing {
				fallback = true
				err = p.elements(t.Name, nested+1)
			} else {
				err = p.skip()
			}
			if err != nil {
				return err
			}
		}
	}
}
