package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

const (
	// readAheadBytes bounds what a task holds beyond the image that it works on, unless one alone may be larger.
	readAheadBytes = 8 << 20
	// lanes is how many requests are under way at once: what hides a store that answers slowly.
	lanes = 4
	// A request for neighbours in one file ends where maxRun bytes are reached, or where more than maxGap of
	// them would be read in vain.
	maxRun = 1 << 20
	maxGap = 32 << 10
	// maxTogether bounds the images of a request.
	maxTogether = 256
	// unknownSize stands for the size of a file that was not listed.
	unknownSize = 256 << 10
)

// Image is one image of a split.
type Image struct {
	Key         []byte
	From        string        // URI of the file that it is, or lies in, if it is read
	Data        []byte        // nil if it is not wanted or cannot be had; valid until the next image
	Bad         *mr.BadRecord // why it cannot be had
	Aside       bool          // it belongs to no record: Bad is set aside whatever becomes of other images
	First, Last bool          // of its record
}

// Host is what a task offers.
type Host interface {
	Resolver
	Store() dfs.FS
	Shared(ctx context.Context, key string, open func(ctx context.Context) (io.Closer, error)) (io.Closer, error)
}

// Read yields the images of a split, in order. Those of keys for which want answers false are not read, and those of
// more than most bytes are bad (0: MaxImage, which none may exceed). want is called from another goroutine, once for each image.
func Read(ctx context.Context, h Host, split *mr.Split, most int64, want func(key []byte) bool) iter.Seq2[Image, error] {
	return func(yield func(Image, error) bool) {
		p, err := readSplit(ctx, h.Store(), split)
		if err != nil {
			yield(Image{}, err)
			return
		}
		c, err := h.Shared(ctx, "images", func(context.Context) (io.Closer, error) { return newUnpacked(), nil })
		if err != nil {
			yield(Image{}, err)
			return
		}
		read(ctx, h, c.(*unpacked), p, most, want)(yield)
	}
}

// All yields all images of an index, in order.
func (x *Index) All(ctx context.Context, r Resolver, want func(key []byte) bool) iter.Seq2[Image, error] {
	return read(ctx, r, newUnpacked(), x.all(), 0, want)
}

// read reads ahead in goroutines of its own, which end before the sequence does.
func read(ctx context.Context, r Resolver, u *unpacked, p *part, most int64, want func(key []byte) bool) iter.Seq2[Image, error] {
	return func(yield func(Image, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		d := &reader{part: p, want: want, resolver: r, unpacked: u, most: MaxImage, wanted: -1, open: map[string]*opened{}}
		if most > 0 {
			d.most = min(most, MaxImage)
		}
		d.hold = max(readAheadBytes, d.most)
		d.room = semaphore.NewWeighted(d.hold)
		order := make(chan *request, lanes) // closed by the dispatching goroutine
		var running sync.WaitGroup
		running.Go(func() {
			defer close(order)
			d.dispatch(ctx, order, &running)
		})
		defer func() {
			cancel()
			for range order { // until the goroutine has ended
			}
			running.Wait()
			d.close()
		}()
		record := int64(0) // bytes of the record so far
		for q := range order {
			select {
			case <-q.ready:
			case <-ctx.Done():
				yield(Image{}, ctx.Err())
				return
			}
			if q.err != nil {
				yield(Image{}, q.err)
				return
			}
			for i := range q.images {
				m := &q.images[i]
				if m.First {
					record = 0
				}
				if record += int64(len(m.Data)); record > MaxImage && m.Data != nil {
					record -= int64(len(m.Data))
					spoil(m, TooLarge, fmt.Errorf("%d bytes: the images of a record may take %d together", len(m.Data), MaxImage))
				}
				if !yield(*m, nil) {
					return
				}
			}
			d.room.Release(q.weight)
		}
		if err := ctx.Err(); err != nil {
			yield(Image{}, err)
		}
	}
}

// spoil says that an image cannot be had.
func spoil(m *Image, cause string, err error) {
	m.Data, m.Bad = nil, &mr.BadRecord{Key: string(m.Key), Stage: "image", Cause: cause, Error: err.Error()}
}

// request is some images that are read together.
type request struct {
	images []Image
	wanted []int // numbers of the images to read
	first  int   // entry of images[0]
	weight int64
	err    error
	ready  chan struct{} // closed when the images are there, or err
}

// reader is a part being read.
type reader struct {
	part     *part
	want     func(key []byte) bool
	resolver Resolver
	unpacked *unpacked
	most     int64               // bytes of an image
	hold     int64               // bytes that requests may hold together
	room     *semaphore.Weighted // taken in the order of the requests, so that the first one never waits for a later one

	wanted int // the entry that want was asked of in vain: it begins the next request

	mu   sync.Mutex
	open map[string]*opened // containers
}

// opened is a container that several requests read from.
type opened struct {
	once sync.Once
	file dfs.File
	err  error
}

// dispatch makes the requests and starts them.
func (d *reader) dispatch(ctx context.Context, order chan<- *request, running *sync.WaitGroup) {
	for at := 0; at < len(d.part.entries); {
		q := d.next(at)
		at += len(q.images)
		if err := d.room.Acquire(ctx, q.weight); err != nil {
			return
		}
		running.Go(func() {
			defer close(q.ready)
			q.err = d.fetch(ctx, q)
		})
		select {
		case order <- q:
		case <-ctx.Done():
			return
		}
	}
}

// next puts together the request that begins with an entry.
func (d *reader) next(at int) *request {
	q := &request{first: at, ready: make(chan struct{})}
	var lead *entry // the first one that is read
	var end int64   // of what is read
	for i := at; i < len(d.part.entries) && len(q.images) < maxTogether; i++ {
		e := &d.part.entries[i]
		m := Image{Key: []byte(e.key), Aside: e.flags&isAside != 0, First: e.flags&isFirst != 0, Last: e.flags&isLast != 0}
		if e.bad != nil {
			spoil(&m, e.bad.Cause, errors.New(e.bad.Error))
		}
		if m.Bad == nil && (i == d.wanted || d.want(m.Key)) {
			if lead != nil && !d.together(lead, e, end) {
				d.wanted = i
				break
			}
			if lead == nil {
				lead = e
			}
			end, m.From = e.at+e.size, d.part.units[e.unit].uri()
			q.wanted = append(q.wanted, len(q.images))
			q.weight += d.weight(lead, e)
		}
		q.images = append(q.images, m)
	}
	q.weight = min(q.weight, d.hold)
	return q
}

// together tells whether an image is read in the request that begins with lead and reaches to end.
func (d *reader) together(lead, e *entry, end int64) bool {
	u, v := &d.part.units[lead.unit], &d.part.units[e.unit]
	switch u.Kind {
	case wholeFile:
		return false
	case byteRange:
		return v.Kind == byteRange && u.sameFile(v) && e.at >= end && e.at-end <= maxGap && e.at+e.size-lead.at <= maxRun
	}
	return u.sameFile(v) && u.Kind == v.Kind && u.isPacked() && u.Packed.At == v.Packed.At
}

// weight is what an image adds to the bytes held.
func (d *reader) weight(lead, e *entry) int64 {
	u := &d.part.units[e.unit]
	switch {
	case u.isPacked():
		if e == lead {
			return u.raw()
		}
		return 0
	case e.size == 0:
		return unknownSize
	}
	return e.size
}

// fetch reads the images of a request. What is wrong with one of them is noted there; an error is the store's.
func (d *reader) fetch(ctx context.Context, q *request) error {
	if len(q.wanted) == 0 {
		return nil
	}
	lead := &d.part.entries[q.first+q.wanted[0]]
	u := &d.part.units[lead.unit]
	err := func() error {
		switch u.Kind {
		case wholeFile:
			return d.file(ctx, u, &q.images[q.wanted[0]])
		case byteRange:
			return d.ranges(ctx, u, q)
		case avroBlock, page:
			return d.packed(ctx, u, q)
		}
		return errs.E("read image", errs.Corrupt, u.uri(), fmt.Errorf("an image in something of kind %q", u.Kind))
	}()
	cause := ""
	switch {
	case err == nil:
		return nil
	case errs.Is(err, errs.NotExist):
		cause = "missing"
	case errs.Is(err, errs.Corrupt):
		cause = "damaged"
	default:
		return errs.E("read image", errs.KindOf(err), u.uri(), err)
	}
	for _, i := range q.wanted {
		spoil(&q.images[i], cause, err)
	}
	return nil
}

// tooLarge says that an image has too many bytes.
func (d *reader) tooLarge(uri string, n int64) error {
	if d.most < MaxImage {
		return fmt.Errorf("%s: %d bytes, the memory limit leaves %d for a file", uri, n, d.most)
	}
	return fmt.Errorf("%s: %d bytes, more than %d", uri, n, d.most)
}

func (d *reader) file(ctx context.Context, u *unit, m *Image) error {
	fs, p, err := d.resolver.Resolve(ctx, u.uri())
	if err != nil {
		if errs.Is(err, errs.Invalid) { // what a table's cell names
			if e := (*errs.Error)(nil); errors.As(err, &e) && e.Fix != "" {
				err = fmt.Errorf("%w: %s", err, e.Fix)
			}
			spoil(m, "path", err)
			return nil
		}
		return err
	}
	f, err := fs.Open(ctx, p)
	switch {
	case err == nil:
	case errs.Is(err, errs.Invalid): // a device, a name that is too long
		spoil(m, "path", err)
		return nil
	case errs.Is(err, errs.Unauthorized) && fs.Caps().Name == "local":
		// Here permission is a file's own; elsewhere it is the job's, and would fail every image.
		spoil(m, "no-permission", err)
		return nil
	default:
		return err
	}
	defer f.Close() // reading only: a failed close loses nothing
	if f.Size() > d.most {
		spoil(m, TooLarge, d.tooLarge(u.uri(), f.Size()))
		return nil
	}
	data := make([]byte, f.Size())
	switch n, err := f.ReadAt(data, 0); {
	case n == len(data):
		m.Data = data
	case ended(err): // it shrinks while it is read, or lies about its size as those below /sys do
		spoil(m, "damaged", fmt.Errorf("%s: ends after %d of %d bytes", u.uri(), n, len(data)))
	default:
		return err
	}
	return nil
}

// ranges reads neighbours in one request.
func (d *reader) ranges(ctx context.Context, u *unit, q *request) error {
	f, err := d.container(ctx, u)
	if err != nil {
		return err
	}
	var fine []int
	start, end := int64(0), int64(0)
	for _, i := range q.wanted {
		e := &d.part.entries[q.first+i]
		if e.size > d.most {
			spoil(&q.images[i], TooLarge, d.tooLarge(u.uri(), e.size))
			continue
		}
		if len(fine) == 0 {
			start = e.at
		}
		end = e.at + e.size
		fine = append(fine, i)
	}
	if len(fine) == 0 {
		return nil
	}
	data := make([]byte, end-start)
	if n, err := f.ReadAt(data, start); n < len(data) {
		if ended(err) {
			return changed(u)
		}
		return err
	}
	for _, i := range fine {
		e := &d.part.entries[q.first+i]
		q.images[i].Data = data[e.at-start : e.at-start+e.size : e.at-start+e.size]
	}
	return nil
}

// ended tells whether a read got fewer bytes because there are no more.
func ended(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// changed says that a file is not the one that the job was planned with.
func changed(u *unit) error {
	e := errs.E("read image", errs.Invalid, u.uri(), errors.New("the file has changed since the job was planned")).(*errs.Error)
	e.ID, e.Fix = "E-IMAGES-CHANGED", "run the job with a new output"
	return e
}

// container opens a file that several requests read from, once.
func (d *reader) container(ctx context.Context, u *unit) (dfs.File, error) {
	d.mu.Lock()
	o := d.open[u.uri()]
	if o == nil {
		o = &opened{}
		d.open[u.uri()] = o
	}
	d.mu.Unlock()
	o.once.Do(func() {
		var fs dfs.FS
		var p dfs.Path
		if fs, p, o.err = d.resolver.Resolve(ctx, u.uri()); o.err != nil {
			return
		}
		if o.file, o.err = fs.Open(ctx, p); o.err == nil && u.Size != o.file.Size() {
			o.err = changed(u)
		}
	})
	return o.file, o.err
}

func (d *reader) close() {
	for _, o := range d.open {
		if o.file != nil {
			_ = o.file.Close() // reading only: a failed close loses nothing
		}
	}
}

// packed takes images out of a page or block.
func (d *reader) packed(ctx context.Context, u *unit, q *request) error {
	values, err := d.unpacked.get(ctx, u, func() ([][]byte, error) {
		f, err := d.container(ctx, u)
		if err != nil {
			return nil, err
		}
		return unpackUnit(f, u)
	})
	if err != nil {
		return err
	}
	for _, i := range q.wanted {
		e, m := &d.part.entries[q.first+i], &q.images[i]
		switch {
		case int(e.elem) >= len(values):
			return changed(u)
		case values[e.elem] == nil:
			spoil(m, "no-image", fmt.Errorf("%s: the row has no image", u.uri()))
		case int64(len(values[e.elem])) > d.most:
			spoil(m, TooLarge, d.tooLarge(u.uri(), int64(len(values[e.elem]))))
		default:
			m.Data = values[e.elem]
		}
	}
	return nil
}
