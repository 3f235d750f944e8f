package hdfs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	hadoop "github.com/colinmarc/hdfs/v2"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// errFileAbove is met where a file bears the name of a folder that is wanted.
var errFileAbove = errors.New("a part of the path is a file, not a folder")

// exception is the class of a server's error without its package, "" if it is none.
func exception(err error) string {
	var thrown hadoop.Error
	if !errors.As(err, &thrown) {
		return ""
	}
	class := thrown.Exception()
	return class[strings.LastIndexAny(class, ".$")+1:]
}

// fileAbove tells whether a server's error says that a file bears the name of a folder that the path wants.
func fileAbove(err error) bool {
	var thrown hadoop.Error
	switch exception(err) {
	case "ParentNotDirectoryException":
		return true
	case "AccessControlException": // so it is called in some calls, for want of a better class
		return errors.As(err, &thrown) && strings.Contains(thrown.Message(), "is not a directory")
	}
	return false
}

// kinds of what the NameNode throws. Other classes are errs.Transient, so that they are tried again and counted.
var kinds = map[string]errs.Kind{
	"FileNotFoundException":               errs.NotExist,
	"FileAlreadyExistsException":          errs.Exist,
	"AlreadyBeingCreatedException":        errs.Exist, // the name is there
	"RecoveryInProgressException":         errs.Exist, // the name is there, and its writer is gone
	"PathIsNotEmptyDirectoryException":    errs.Exist,
	"AccessControlException":              errs.Unauthorized,
	"SnapshotAccessControlException":      errs.Unauthorized,
	"AuthorizationException":              errs.Unauthorized,
	"InvalidToken":                        errs.Unauthorized,
	"SaslException":                       errs.Unauthorized,
	"InvalidEncryptionKeyException":       errs.Unauthorized,
	"SafeModeException":                   errs.Unreachable,
	"RouterSafeModeException":             errs.Unreachable,
	"StandbyException":                    errs.Unreachable,
	"ObserverRetryOnActiveException":      errs.Unreachable,
	"RetriableException":                  errs.Unreachable,
	"ServerTooBusyException":              errs.Unreachable,
	"NSQuotaExceededException":            errs.NoSpace,
	"DSQuotaExceededException":            errs.NoSpace,
	"QuotaByStorageTypeExceededException": errs.NoSpace,
	"MaxDirectoryItemsExceededException":  errs.NoSpace,
	"PathComponentTooLongException":       errs.Invalid,
	"InvalidPathException":                errs.Invalid,
	"HadoopIllegalArgumentException":      errs.Invalid,
	"IllegalArgumentException":            errs.Invalid,
	"UnresolvedPathException":             errs.Invalid, // a symbolic link
	"RpcNoSuchMethodException":            errs.Invalid, // a server that is too old
	"VersionMismatch":                     errs.Invalid,
}

// kindOf is what an error of the library or the server means.
func kindOf(err error) errs.Kind {
	if err == nil {
		return errs.Unknown
	}
	if k := errs.KindOf(err); k != errs.Unknown {
		return k
	}
	if errors.Is(err, errFileAbove) || errors.Is(err, os.ErrInvalid) {
		return errs.Invalid
	}
	if class := exception(err); class != "" {
		if fileAbove(err) {
			return errs.NotExist // other stores see no such file
		}
		if k, ok := kinds[class]; ok {
			return k
		}
		return errs.Transient
	}
	var ce *connError
	switch text := err.Error(); {
	case strings.Contains(text, "AccessControlException"), strings.Contains(text, "kerberos"), strings.Contains(text, "SASL"), strings.Contains(text, "KRB"):
		return errs.Unauthorized
	case broken(err):
		return errs.Unreachable
	case errors.As(err, &ce):
		return errs.Transient
	case strings.Contains(text, "invalid checksum"):
		return errs.Corrupt
	}
	return errs.Transient // a DataNode's: "Ack error from datanode", "write failed: ERROR"
}

// remote is a server's error as people should read it: the library's text lacks the message.
type remote struct {
	err hadoop.Error
}

func (r *remote) Error() string {
	message, _, _ := strings.Cut(strings.TrimSpace(r.err.Message()), "\n") // what follows is the stack
	return fmt.Sprintf("%s: %s", r.err.Exception(), message)
}

func (r *remote) Unwrap() error { return r.err.(error) }

// wrap gives an error our path, kind and words.
func (f *FS) wrap(op string, p dfs.Path, err error) error {
	if err == nil {
		return nil
	}
	kind := kindOf(err)
	var own *errs.Error
	if errors.As(err, &own) { // it has words of its own
		return errs.E(op, kind, f.shown(p), err)
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err // its path may be that of a hidden file
	}
	var re hadoop.Error
	if errors.As(err, &re) {
		err = &remote{re}
	}
	out := errs.E(op, kind, f.shown(p), err).(*errs.Error)
	switch kind {
	case errs.Unreachable:
		out.ID = "E-HDFS-UNREACHABLE"
		out.Fix = "check that a NameNode runs at " + strings.Join(f.opt.Addresses, " or ") + " and is out of safe mode (hdfs dfsadmin -safemode get)"
		if strings.Contains(err.Error(), outOfStep) && f.opt.Kerberos == nil {
			out.Fix = "if the cluster has Kerberos, set hadoop.security.authentication to kerberos in core-site.xml; that is how it refuses those who come without"
		}
	case errs.Unauthorized:
		out.ID = "E-HDFS-REFUSED"
		out.Fix = "check the permissions (hdfs dfs -ls -d FOLDER), and as whom the program works: " + f.opt.identity()
	}
	return out
}

// garbled tells whether an error is what comes of the library's fault in reading encrypted data without AES: where a read
// crosses the end of a message, it forgets what it had read before.
func garbled(err error) bool {
	return strings.Contains(err.Error(), "cannot parse invalid wire-format") || strings.Contains(err.Error(), "invalid response from datanode")
}

// needAES is the way out.
const needAES = "set dfs.encrypt.data.transfer.cipher.suites to AES/CTR/NoPadding, and dfs.data.transfer.protection to privacy, in hdfs-site.xml of the DataNodes and NameNodes"

// identity is who we are, for messages.
func (o Options) identity() string {
	if o.Kerberos != nil {
		return "Kerberos with " + o.Kerberos.source()
	}
	return "user " + o.User + ", no Kerberos"
}
