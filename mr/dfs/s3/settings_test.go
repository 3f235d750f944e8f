package s3_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs/s3"
	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// asked is where a client with the settings sends a request, and how it is signed.
type asked struct{ host, path, auth, token string }

// ask makes a client of bucket "data" and catches its first request.
func ask(t *testing.T, c s3.Config) asked {
	t.Helper()
	var got asked
	c.Wrap = func(http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if got.host == "" {
				got = asked{r.URL.Scheme + "://" + r.URL.Host, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token")}
			}
			w := httptest.NewRecorder()
			w.WriteHeader(http.StatusNoContent)
			return w.Result(), nil
		})
	}
	fs, err := s3.New("data", "", c)
	must(t, "new", err)
	must(t, "remove", fs.Remove(t.Context(), "a b/ü"))
	return got
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestSettings(t *testing.T) {
	keys := map[string]string{"AWS_ACCESS_KEY_ID": "ENVKEY", "AWS_SECRET_ACCESS_KEY": "s"}
	hadoop := map[string]string{"fs.s3a.endpoint": "hadoop:9000", "fs.s3a.connection.ssl.enabled": "false", "fs.s3a.access.key": "HADOOPKEY", "fs.s3a.secret.key": "s",
		"fs.s3a.endpoint.region": "r-hadoop"}
	home := t.TempDir()
	must(t, "mkdir", os.Mkdir(filepath.Join(home, ".aws"), 0o777))
	must(t, "write", os.WriteFile(filepath.Join(home, ".aws/credentials"), []byte("[default]\naws_access_key_id = DEFAULTKEY\naws_secret_access_key = s\n[lab]\naws_access_key_id = LABKEY\naws_secret_access_key = s\naws_session_token = labtoken\n"), 0o600))
	must(t, "write", os.WriteFile(filepath.Join(home, ".aws/config"), []byte("[default]\nregion = r-default\n[profile lab]\nregion = r-lab\nendpoint_url = http://wrong:1\ns3 =\n  endpoint_url = http://lab:9000\n  addressing_style = virtual\n[profile inline]\naws_access_key_id = INLINEKEY\naws_secret_access_key = s\nregion=r-inline\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = http://services:1\n"), 0o600))
	for _, c := range []struct {
		name       string
		env        map[string]string
		properties map[string]string
		home       string
		want       asked // auth: what must be part of it
	}{
		{"environment", map[string]string{"AWS_ENDPOINT_URL": "http://env:9000", "AWS_REGION": "r-env"}, nil, "", asked{"http://env:9000", "/data/a b/ü", "ENVKEY/DATE/r-env/", ""}},
		{"endpoint of S3 before that of all", map[string]string{"AWS_ENDPOINT_URL": "http://env:9000", "AWS_ENDPOINT_URL_S3": "https://env3/"}, nil, "", asked{"https://env3", "/data/a b/ü", "ENVKEY/DATE/us-east-1/", ""}},
		{"session", map[string]string{"AWS_ENDPOINT_URL": "env", "AWS_SESSION_TOKEN": "tok"}, nil, "", asked{"https://env", "/data/a b/ü", "ENVKEY", "tok"}},
		{"AWS", map[string]string{"AWS_DEFAULT_REGION": "eu-west-1"}, nil, "", asked{"https://data.s3.dualstack.eu-west-1.amazonaws.com", "/a b/ü", "ENVKEY/DATE/eu-west-1/", ""}},
		{"core-site", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, hadoop, home, asked{"http://hadoop:9000", "/data/a b/ü", "HADOOPKEY/DATE/r-hadoop/", ""}},
		{"environment before core-site", map[string]string{"AWS_ENDPOINT_URL_S3": "http://env:1"}, hadoop, "", asked{"http://env:1", "/data/a b/ü", "ENVKEY/DATE/r-hadoop/", ""}},
		{"core-site of the bucket", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, with(hadoop, "fs.s3a.bucket.data.endpoint", "mine:1", "fs.s3a.bucket.data.access.key", "MINEKEY", "fs.s3a.bucket.data.session.token", "tok",
			"fs.s3a.bucket.other.endpoint", "other:1", "fs.s3a.bucket.data.path.style.access", "false"), "", asked{"http://data.mine:1", "/a b/ü", "MINEKEY/DATE/r-hadoop/", "tok"}},
		{"default profile", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_ENDPOINT_URL": "http://env:1"}, nil, home, asked{"http://env:1", "/data/a b/ü", "DEFAULTKEY/DATE/r-default/", ""}},
		{"named profile before core-site", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "lab"}, hadoop, home, asked{"http://data.lab:9000", "/a b/ü", "LABKEY/DATE/r-lab/", "labtoken"}},
		{"profile of the file of settings", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "inline", "AWS_CONFIG_FILE": filepath.Join(home, ".aws/config")}, nil, "", asked{"http://services:1", "/data/a b/ü", "INLINEKEY/DATE/r-inline/", ""}},
		{"nobody", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_ENDPOINT_URL": "http://env:1"}, nil, "", asked{"http://env:1", "/data/a b/ü", "", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := with(keys)
			for k, v := range c.env {
				env[k] = v
			}
			got := ask(t, s3.Config{Env: func(n string) string { return env[n] }, Properties: c.properties, Home: c.home})
			auth := got.auth
			if parts := strings.Split(strings.TrimPrefix(auth, "AWS4-HMAC-SHA256 Credential="), "/"); len(parts) > 2 {
				auth = parts[0] + "/DATE/" + parts[2] + "/"
			}
			if got.host != c.want.host || got.path != c.want.path || !strings.Contains(auth, c.want.auth) || c.want.auth == "" && auth != "" || got.token != c.want.token {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func with(m map[string]string, kv ...string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	for i := 0; i < len(kv); i += 2 {
		out[kv[i]] = kv[i+1]
	}
	return out
}

func TestSettingsThatAreWrong(t *testing.T) {
	const secret = "very-secret"
	empty := filepath.Join(t.TempDir(), "empty.pem")
	must(t, "write", os.WriteFile(empty, nil, 0o600))
	for _, c := range []struct {
		bucket          string
		env, properties map[string]string
		says            string
	}{
		{"", nil, nil, "no bucket"},
		{"data", map[string]string{"AWS_ENDPOINT_URL": "http://user:" + secret + "@host"}, nil, "AWS_ENDPOINT_URL"},
		{"data", map[string]string{"AWS_ENDPOINT_URL_S3": "http://host/data"}, nil, "AWS_ENDPOINT_URL_S3"},
		{"data", map[string]string{"AWS_ENDPOINT_URL": "ftp://host"}, nil, "http://"},
		{"data", map[string]string{"AWS_ENDPOINT_URL": "http://"}, nil, "AWS_ENDPOINT_URL"},
		{"data", map[string]string{"AWS_ACCESS_KEY_ID": "a"}, nil, "AWS_ACCESS_KEY_ID"},
		{"data", map[string]string{"AWS_SECRET_ACCESS_KEY": secret}, nil, "AWS_SECRET_ACCESS_KEY"},
		{"data", map[string]string{"AWS_PROFILE": "nowhere"}, nil, "nowhere"},
		{"data", map[string]string{"AWS_CA_BUNDLE": empty}, nil, "AWS_CA_BUNDLE"},
		{"data", map[string]string{"AWS_CA_BUNDLE": empty + "x"}, nil, "AWS_CA_BUNDLE"},
		{"data", nil, map[string]string{"fs.s3a.path.style.access": "ja"}, "fs.s3a.path.style.access"},
		{"data", nil, map[string]string{"fs.s3a.bucket.data.connection.ssl.enabled": "1x"}, "fs.s3a.bucket.data.connection.ssl.enabled"},
		{"data", nil, map[string]string{"fs.s3a.secret.key": secret}, "fs.s3a.secret.key"},
	} {
		o := s3.NewOpener(func() s3.Config {
			return s3.Config{Env: func(n string) string { return c.env[n] }, Properties: c.properties}
		})
		_, _, err := o.Open(t.Context(), &url.URL{Host: c.bucket, Path: "/a"})
		if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret) {
			t.Errorf("%v %v: %v (kind %v), want one that says %s and no secret", c.env, c.properties, err, errs.KindOf(err), c.says)
		}
	}
}

func TestOpener(t *testing.T) {
	env := map[string]string{"AWS_ENDPOINT_URL": "http://host:1"}
	o := s3.NewOpener(func() s3.Config { return s3.Config{Env: func(n string) string { return env[n] }} })
	open := func(host, path string) (any, string) {
		fs, p, err := o.Open(t.Context(), &url.URL{Host: host, Path: path})
		must(t, "open", err)
		return fs, string(p)
	}
	one, p := open("data", "/a/b/")
	if p != "a/b" {
		t.Errorf("path %q", p)
	}
	if two, p := open("data", "/"); two != one || p != "" {
		t.Errorf("a bucket is opened twice, or its root is %q", p)
	}
	if two, _ := open("other", "/a"); two == one {
		t.Error("two buckets are one")
	}
	env["AWS_ENDPOINT_URL"] = "http://host:2"
	if two, _ := open("data", "/a"); two == one {
		t.Error("other settings do not count")
	}
	if _, _, err := o.Open(t.Context(), &url.URL{Host: "data", Path: "/a//b"}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a path that is not clean: %v", err)
	}
}

func TestBelow(t *testing.T) {
	fake := s3test.NewFake(t)
	fs, err := s3.New(s3test.Bucket, "a", fake.Config())
	must(t, "new", err)
	job, err := fs.Below("b/c")
	must(t, "below", err)
	must(t, "claim", job.Claim(t.Context(), "d"))
	if _, err := fs.Stat(t.Context(), "b/c/d"); err != nil || job.Name("d") != "s3://vista/a/b/c/d" || fs.Name("") != "s3://vista/a" {
		t.Errorf("%v, %s, %s", err, job.Name("d"), fs.Name(""))
	}
	if _, err := fs.Below("../x"); !errs.Is(err, errs.Invalid) {
		t.Errorf("a path that is not clean: %v", err)
	}
}
