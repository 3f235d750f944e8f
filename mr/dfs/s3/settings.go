package s3

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Config is where settings come from, and how patient the adapter is. The zero value asks AWS as nobody.
type Config struct {
	// Env is the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
	// AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_CA_BUNDLE,
	// AWS_PROFILE, and what names files and roles. nil: empty.
	Env func(string) string
	// Properties are those of Hadoop's core-site.xml that begin with "fs.s3a."; others do not matter.
	Properties map[string]string
	// Home is where the folder ".aws" lies; "": nowhere.
	Home string
	// Patience is how long a call is tried again; 0: 30 s. One whose store has never answered is
	// tried for 4 s.
	Patience time.Duration
	// Stall is how long nothing may move on a connection; 0: 20 s.
	Stall time.Duration

	// For tests: the size of parts, connections to elsewhere, a look at all requests.
	PartSize int
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	Wrap     func(http.RoundTripper) http.RoundTripper
}

const (
	defaultPatience = 30 * time.Second
	defaultStall    = 20 * time.Second
	// A writer holds two parts. Stores want 5 MiB at least, and some want all of a file equally large.
	defaultPartSize = 8 << 20
	maxParts        = 10_000
	awsHost         = "s3.amazonaws.com"
	fallbackRegion  = "us-east-1" // what stores that know no regions take
)

// settings are what is known before the store is asked. They are comparable.
type settings struct {
	Host    string // with the port
	Secure  bool
	Path    bool // the bucket is part of the path, not of the host
	Region  string
	Roots   string // file of certificate authorities
	From    string // who named the endpoint
	Keys    keys
	Profile string
	Home    string
	AWS     bool
	NoIMDS  bool
	WebID   string
	Tasks   string // a container's credentials
	Files   [2]string
}

// keys are credentials that a setting holds.
type keys struct{ Access, Secret, Token, From string }

func (s *settings) shown() string {
	if s.Secure {
		return "https://" + s.Host
	}
	return "http://" + s.Host
}

func bad(bucket, format string, args ...any) error {
	return &errs.Error{Op: "open", Kind: errs.Invalid, ID: "E-S3-SETTINGS", Path: "s3://" + bucket, Fix: "correct the setting", Err: fmt.Errorf(format, args...)}
}

// source looks settings up: the properties of the bucket before those of all.
type source struct {
	bucket string
	c      Config
}

func (s *source) env(names ...string) (value, name string) {
	if s.c.Env == nil {
		return "", ""
	}
	for _, n := range names {
		if v := strings.TrimSpace(s.c.Env(n)); v != "" {
			return v, n
		}
	}
	return "", ""
}

func (s *source) property(name string) (value, full string) {
	for _, full := range []string{"fs.s3a.bucket." + s.bucket + "." + name, "fs.s3a." + name} {
		if v := strings.TrimSpace(s.c.Properties[full]); v != "" {
			return v, full
		}
	}
	return "", ""
}

func (s *source) boolean(name string, otherwise bool) (bool, error) {
	v, full := s.property(name)
	if v == "" {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(strings.ToLower(v))
	if err != nil {
		return false, bad(s.bucket, "%s is true or false; found %q", full, v)
	}
	return b, nil
}

// readSettings puts settings together. The environment wins; then what the profile says that AWS_PROFILE
// names, then core-site.xml, then the default profile: a file that lies in a home by chance shall not win
// over what the cluster's administrator has written.
func readSettings(bucket string, c Config) (*settings, error) {
	if bucket == "" {
		return nil, bad("", "the URI names no bucket: write s3://BUCKET/KEY")
	}
	src := &source{bucket, c}
	s := &settings{Home: c.Home}
	s.Files[0], _ = src.env("AWS_CONFIG_FILE")
	s.Files[1], _ = src.env("AWS_SHARED_CREDENTIALS_FILE")
	s.Roots, _ = src.env("AWS_CA_BUNDLE")
	s.WebID, _ = src.env("AWS_WEB_IDENTITY_TOKEN_FILE")
	s.Tasks, _ = src.env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
	off, _ := src.env("AWS_EC2_METADATA_DISABLED")
	s.NoIMDS = strings.EqualFold(off, "true")
	named, _ := src.env("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
	s.Profile = named
	if s.Profile == "" {
		s.Profile = "default"
	}
	profile, err := readProfile(s.Files, c.Home, s.Profile, named != "")
	if err != nil {
		return nil, bad(bucket, "%w", err)
	}

	pick := func(env []string, property, key string) (string, string) {
		if v, name := src.env(env...); v != "" {
			return v, name
		}
		p := profile[key]
		v, full := src.property(property)
		if p != "" && (named != "" || v == "") {
			return p, "profile " + s.Profile
		}
		return v, full
	}
	endpoint, from := pick([]string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}, "endpoint", "endpoint_url")
	s.Region, _ = pick([]string{"AWS_REGION", "AWS_DEFAULT_REGION"}, "endpoint.region", "region")
	secure, err := src.boolean("connection.ssl.enabled", true)
	if err != nil {
		return nil, err
	}
	if err := s.locate(bucket, endpoint, from, secure); err != nil {
		return nil, err
	}
	// Stores other than AWS's own rarely have names for their buckets.
	if s.Path, err = src.boolean("path.style.access", !s.AWS); err != nil {
		return nil, err
	}
	switch profile["addressing_style"] {
	case "path":
		s.Path = true
	case "virtual":
		s.Path = false
	}
	if s.Region == "" && !s.AWS {
		s.Region = fallbackRegion
	}
	s.Keys, err = src.keys(named != "")
	return s, err
}

// keys finds credentials that settings hold.
func (s *source) keys(profile bool) (keys, error) {
	access, a := s.env("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY")
	secret, b := s.env("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")
	token, _ := s.env("AWS_SESSION_TOKEN")
	from := "the environment"
	if access == "" && secret == "" && !profile {
		access, a = s.property("access.key")
		secret, b = s.property("secret.key")
		token, _ = s.property("session.token")
		from = "fs.s3a.access.key"
	}
	switch {
	case access == "" && secret == "":
		return keys{}, nil
	case secret == "":
		return keys{}, bad(s.bucket, "%s is set and the secret key that belongs to it is not", a)
	case access == "":
		return keys{}, bad(s.bucket, "%s is set and the access key that belongs to it is not", b)
	}
	return keys{access, secret, token, from}, nil
}

// locate reads the endpoint: a host, with a port or not, or a URL of one.
func (s *settings) locate(bucket, endpoint, from string, secure bool) error {
	s.Secure, s.From = secure, from
	if endpoint == "" {
		s.Host, s.AWS, s.From = awsHost, true, "AWS"
		return nil
	}
	host := endpoint
	if i := strings.Index(endpoint, "://"); i >= 0 {
		scheme := strings.ToLower(endpoint[:i])
		if scheme != "http" && scheme != "https" {
			return bad(bucket, "%s begins with http:// or https://, or with neither", from)
		}
		s.Secure, host = scheme == "https", endpoint[i+3:]
	}
	u, err := url.Parse("//" + host)
	switch {
	case err != nil:
		return bad(bucket, "%s is no endpoint: it is a host and a port, such as http://host:9000", from)
	case u.User != nil: // and it is not shown
		return bad(bucket, "%s holds a user or password: credentials have settings of their own", from)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Host == "" || u.Hostname() == "":
		return bad(bucket, "%s is %q: it is a host and a port, such as http://host:9000, without a path or bucket", from, endpoint)
	}
	s.Host = u.Host
	s.AWS = strings.HasSuffix(u.Hostname(), ".amazonaws.com") || strings.HasSuffix(u.Hostname(), ".amazonaws.com.cn")
	return nil
}

func readRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("AWS_CA_BUNDLE: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("AWS_CA_BUNDLE: %s holds no certificate", file)
	}
	return pool, nil
}

// newBucket makes the client of a bucket.
func newBucket(name string, c Config) (*bucket, error) {
	s, err := readSettings(name, c)
	if err != nil {
		return nil, err
	}
	b := &bucket{name: name, settings: s, config: c, stall: c.Stall, patience: c.Patience, partSize: c.PartSize}
	if b.stall == 0 {
		b.stall = defaultStall
	}
	if b.patience == 0 {
		b.patience = defaultPatience
	}
	if b.partSize == 0 {
		b.partSize = defaultPartSize
	}
	return b, b.connect()
}

func (b *bucket) connect() error {
	s := b.settings
	rt, err := b.transport(s, b.config)
	if err != nil {
		return bad(b.name, "%w", err)
	}
	b.sign = newChain(s)
	lookup := minio.BucketLookupAuto
	switch {
	case s.Path:
		lookup = minio.BucketLookupPath
	case !s.AWS: // of AWS the library knows which names do not go with certificates
		lookup = minio.BucketLookupDNS
	}
	b.core, err = minio.NewCore(s.Host, &minio.Options{Creds: credentials.New(b.sign), Secure: s.Secure, Transport: rt, Region: s.Region, BucketLookup: lookup, MaxRetries: 1})
	if err != nil {
		return bad(b.name, "%s: %w", s.From, errors.New(b.sign.hide(err.Error())))
	}
	b.core.SetAppInfo("vista-mr", "1")
	return nil
}

// Again returns another client of the same folder, with connections of its own.
func (f *FS) Again() (dfs.FS, error) { return f.another(false) }

// Losing returns another client of the folder that loses the first reply to every request that changes
// something, after the store has done it: with it a probe finds out whether a repeated request is known
// for what it is.
func (f *FS) Losing() (dfs.FS, error) { return f.another(true) }

func (f *FS) another(losing bool) (*FS, error) {
	b := &bucket{name: f.bucket.name, settings: f.settings, config: f.config, stall: f.stall, patience: f.patience, partSize: f.partSize, losing: losing}
	b.met.Store(f.met.Load() || losing) // a lost reply is no sign of a wrong address
	return &FS{bucket: b, root: f.root}, b.connect()
}

// describe is what a person is told of the settings.
func (b *bucket) describe() []string {
	s := b.settings
	style := "virtual-host style"
	if s.Path {
		style = "path style"
	}
	region := s.Region
	if region == "" {
		region = "as the bucket says"
	}
	return []string{"endpoint " + s.shown() + " (" + s.From + ")", "region " + region, style, "credentials: " + b.sign.source()}
}
