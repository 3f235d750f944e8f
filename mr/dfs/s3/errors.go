package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// What the adapter itself finds.
var (
	errTaken   = errors.New("an object of the name is there already")
	errChanged = errors.New("the object was written anew while it was read")
)

func isCode(err error, codes ...string) bool {
	r, ok := response(err)
	if !ok {
		return false
	}
	for _, c := range codes {
		if r.Code == c {
			return true
		}
	}
	return false
}

// isAbsent tells whether there is no object. Stores use the status for other things, too: no bucket, no
// upload, no such user.
func isAbsent(err error) bool {
	r, ok := response(err)
	return ok && r.StatusCode == http.StatusNotFound && (isCode(err, minio.NoSuchKey, "NoSuchVersion", "NotFound", "") || strings.HasPrefix(r.Code, "404"))
}

// isFolder are answers of stores that keep keys as files of a disk, about a key that is a folder there,
// or lies below one that is a file.
func isFolder(err error) bool {
	return isCode(err, "ObjectParentIsFile", "XMinioParentIsObject", "DirectoryNotEmpty", "DirectoryObjectContainsData", "ObjectExistsAsDirectory", "XMinioObjectExistsAsDirectory")
}

func isRefused(err error) bool {
	r, ok := response(err)
	return ok && (r.StatusCode == http.StatusPreconditionFailed || r.Code == minio.PreconditionFailed)
}

// meaning is what an answer means to a user.
type meaning struct {
	kind    errs.Kind
	id, fix string
}

const permissions = "s3:GetObject and s3:ListBucket, and s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload for what is written"

// codes are the answers that say what is wrong.
var codes = map[string]meaning{
	minio.NoSuchBucket:             {errs.Invalid, "E-S3-BUCKET", "check the bucket's name and the endpoint, or create the bucket"},
	"InvalidBucketName":            {errs.Invalid, "E-S3-BUCKET", "a bucket's name has 3 to 63 small letters, digits, dots and hyphens"},
	minio.AccessDenied:             {errs.Unauthorized, "E-S3-REFUSED", "give the identity " + permissions + "; vista-mr doctor shows which identity is used"},
	"AllAccessDisabled":            {errs.Unauthorized, "E-S3-REFUSED", "ask the owner of the account"},
	"AccountProblem":               {errs.Unauthorized, "E-S3-REFUSED", "ask the owner of the account"},
	"SignatureDoesNotMatch":        {errs.Unauthorized, "E-S3-REFUSED", "the secret key does not belong to the access key: check AWS_SECRET_ACCESS_KEY, the profile or fs.s3a.secret.key"},
	"InvalidAccessKeyId":           {errs.Unauthorized, "E-S3-REFUSED", "the store does not know the access key: check it, and that the endpoint is the one that it belongs to"},
	"XAdminUserNotFound":           {errs.Unauthorized, "E-S3-REFUSED", "the store does not know the access key: check it, and that the endpoint is the one that it belongs to"},
	"InvalidToken":                 {errs.Unauthorized, "E-S3-REFUSED", "the session token does not belong to the keys: check AWS_SESSION_TOKEN"},
	"ExpiredToken":                 {errs.Unauthorized, "E-S3-REFUSED", "the credentials have expired: get new ones, then run the same command again"},
	"ExpiredTokenException":        {errs.Unauthorized, "E-S3-REFUSED", "the credentials have expired: get new ones, then run the same command again"},
	"TokenRefreshRequired":         {errs.Unauthorized, "E-S3-REFUSED", "the credentials have expired: get new ones, then run the same command again"},
	"RequestTimeTooSkewed":         {errs.Unauthorized, "E-S3-REFUSED", "set this machine's clock: it differs too much from the store's"},
	"RequestExpired":               {errs.Unauthorized, "E-S3-REFUSED", "set this machine's clock: it differs too much from the store's"},
	"AuthorizationHeaderMalformed": {errs.Invalid, "E-S3-REGION", "set AWS_REGION to the bucket's region"},
	minio.InvalidRegion:            {errs.Invalid, "E-S3-REGION", "set AWS_REGION to the bucket's region"},
	"IllegalLocationConstraint":    {errs.Invalid, "E-S3-REGION", "set AWS_REGION to the bucket's region"},
	"PermanentRedirect":            {errs.Invalid, "E-S3-REGION", "the bucket lies elsewhere: set AWS_REGION to its region, and AWS_ENDPOINT_URL_S3 only for a store other than AWS"},
	"TemporaryRedirect":            {errs.Invalid, "E-S3-REGION", "the bucket lies elsewhere: set AWS_REGION to its region, and AWS_ENDPOINT_URL_S3 only for a store other than AWS"},
	"InvalidObjectState":           {errs.Invalid, "", "restore the object from the archive first"},
	"KeyTooLongError":              {errs.Invalid, "", "use shorter names: a key has 1,024 bytes at most"},
	"XMinioInvalidObjectName":      {errs.Invalid, "", ""},
	"EntityTooLarge":               {errs.Invalid, "", ""},
	"NotImplemented":               {errs.Invalid, "E-S3-LACKING", "use a store that has what is named; vista-mr doctor tells"},
	"XMinioStorageFull":            {errs.NoSpace, "E-NO-SPACE", "make room in the store, then run the same command again"},
	"InsufficientStorage":          {errs.NoSpace, "E-NO-SPACE", "make room in the store, then run the same command again"},
	"QuotaExceeded":                {errs.NoSpace, "E-NO-SPACE", "raise the quota, then run the same command again"},
	"SlowDown":                     {errs.Transient, "", "the store is busy: run the same command again later"},
	"SlowDownRead":                 {errs.Transient, "", "the store is busy: run the same command again later"},
	"SlowDownWrite":                {errs.Transient, "", "the store is busy: run the same command again later"},
}

// means finds what an error means.
func (f *FS) means(err error) meaning {
	r, ok := response(err)
	if !ok {
		var known *errs.Error
		switch {
		case errors.As(err, &known):
			return meaning{kind: errs.Unknown}
		case hopeless(err):
			return meaning{errs.Invalid, "E-S3-TLS", "check whether the endpoint begins with http:// or https://, and name its certificate authority with AWS_CA_BUNDLE"}
		}
		return meaning{errs.Unreachable, "E-S3-UNREACHABLE", "check that " + f.settings.shown() + " is the right endpoint and that the store runs; vista-mr doctor tests it"}
	}
	if m, ok := codes[r.Code]; ok {
		switch {
		case m.id == "E-S3-REGION" && r.Region != "":
			m.fix = "set AWS_REGION to " + r.Region + ", where the bucket is"
		case m.id == "E-S3-REFUSED" && f.sign.source() == anonymous:
			m.fix = "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or fs.s3a.access.key and fs.s3a.secret.key"
		}
		return m
	}
	switch {
	case isAbsent(err):
		return meaning{kind: errs.NotExist}
	case r.Code == "NoSuchUpload", r.Code == "NoSuchPart", r.Code == "InvalidPart": // somebody has ended the upload: a new attempt begins anew
		return meaning{kind: errs.Transient}
	case isFolder(err):
		return meaning{errs.Invalid, "", "use another name: of this one, a part is a file in the store, or all of it a folder"}
	case r.StatusCode == http.StatusConflict:
		return meaning{kind: errs.Transient}
	case r.StatusCode == http.StatusInsufficientStorage:
		return codes["InsufficientStorage"]
	case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusProxyAuthRequired:
		return codes[minio.AccessDenied]
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return codes["PermanentRedirect"]
	case r.StatusCode == http.StatusTooManyRequests:
		return codes["SlowDown"]
	case r.StatusCode == http.StatusRequestTimeout, r.StatusCode >= 500:
		return meaning{errs.Unreachable, "E-S3-UNREACHABLE", "the store at " + f.settings.shown() + " fails: see its log, then run the same command again"}
	}
	return meaning{errs.Invalid, "", "vista-mr doctor tests what the store can do"}
}

// text is what an error says, without the wrapping of the libraries and without secrets.
func (f *FS) text(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var n net.Error
	var s string
	switch r, ok := response(err); {
	case errors.As(err, &n) && n.Timeout():
		s = f.settings.shown() + " does not answer"
		if !strings.Contains(err.Error(), "timeout awaiting response headers") && !strings.Contains(err.Error(), "i/o timeout") {
			s += ": " + err.Error()
		}
	case !ok:
		s = err.Error()
	case r.Message == "" || strings.Contains(r.Message, r.Code):
		s = r.Error()
	case r.Code == "" || r.Code == fmt.Sprint(r.StatusCode):
		s = r.Message
	default:
		s = r.Code + ": " + r.Message
	}
	return errors.New(f.sign.hide(strings.TrimSuffix(s, ".")))
}

// fail makes an error of the package of one of a library. The outer one has the path below the root,
// which the engine goes by, the inner one the URI, which a user knows.
func (f *FS) fail(ctx context.Context, op string, p dfs.Path, err error) error {
	if cause := ctx.Err(); cause != nil {
		return errs.E(op, errs.Canceled, string(p), cause)
	}
	var known *errs.Error
	switch {
	case errors.As(err, &known):
		return errs.E(op, errs.Unknown, string(p), err)
	case errors.Is(err, errTaken):
		return errs.E(op, errs.Exist, string(p), err)
	case errors.Is(err, errChanged):
		return errs.E(op, errs.Corrupt, string(p), &errs.Error{Kind: errs.Corrupt, ID: "E-S3-CHANGED", Path: f.Name(p), Fix: "leave inputs as they are while a job runs; run the job again", Err: err})
	}
	err = f.diagnosed(ctx, err)
	m := f.means(err)
	if m.kind == errs.NotExist {
		return errs.E(op, errs.NotExist, string(p), &errs.Error{Kind: errs.NotExist, Path: f.Name(p), Err: errors.New("no such object")})
	}
	return errs.E(op, m.kind, string(p), &errs.Error{Kind: m.kind, ID: m.id, Path: f.Name(p), Fix: m.fix, Err: f.text(err)})
}

// diagnosed asks the store once more where its answer says too little: a reply to HEAD has no body, so a
// missing bucket looks like a missing object, and a wrong secret like a missing permission.
func (f *FS) diagnosed(ctx context.Context, err error) error {
	r, ok := response(err)
	silent := ok && (r.Code == minio.AccessDenied || r.Code == minio.NoSuchKey) && !f.sure.Load() ||
		strings.HasPrefix(r.Code, fmt.Sprint(r.StatusCode)) // what the library makes of a status alone
	if !silent {
		return err
	}
	_, more := f.page(ctx, "", "", 1)
	m, ok := response(more)
	switch {
	case more == nil, ok && m.Code == minio.AccessDenied: // it is there
		f.sure.Store(true)
		return err
	case !ok || m.StatusCode == 0, m.StatusCode >= 500 && r.StatusCode < 500:
		return err // nothing has been learnt
	}
	return more
}
