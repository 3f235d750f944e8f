package hdfs

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	hadoop "github.com/colinmarc/hdfs/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// The client library speaks all of the NameNode's protocol but offers a part of it: its Rename always overwrites, and
// its errors lose the server's message. So calls go through the connection that it keeps in an unexported field, which
// has the one method below, with its own messages, which every Go program finds by name in the registry of protobuf.
// Nothing is written to memory that the library owns, but for one field that it would fill in later and without a lock
// (prime). TestDoor fails where a new version of the library is built otherwise.

// executor is the library's connection to the NameNodes.
type executor interface {
	Execute(method string, req, resp proto.Message) error
}

func executorOf(c *hadoop.Client) (executor, error) {
	field := reflect.ValueOf(c).Elem().FieldByName("namenode")
	if !field.IsValid() || field.Kind() != reflect.Pointer {
		return nil, errors.New("the HDFS client library is not the version that this program is made for")
	}
	e, ok := reflect.NewAt(field.Type().Elem(), field.UnsafePointer()).Interface().(executor)
	if !ok {
		return nil, errors.New("the HDFS client library is not the version that this program is made for")
	}
	return e, nil
}

// message makes an empty message of the protocol.
func message(name string) (protoreflect.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("hadoop.hdfs." + name))
	if err != nil {
		return nil, fmt.Errorf("the HDFS client library lacks %s: %w", name, err)
	}
	return t.New(), nil
}

// args are the fields of a request. A value is what protobuf has for the field, or args of a message.
type args map[protoreflect.Name]any

func (a args) set(m protoreflect.Message) {
	for name, v := range a {
		field := m.Descriptor().Fields().ByName(name)
		if inner, ok := v.(args); ok {
			inner.set(m.Mutable(field).Message())
			continue
		}
		m.Set(field, protoreflect.ValueOf(v))
	}
}

// call makes a call of the NameNode's protocol. Errors are the server's own, with class and message.
func (s *session) call(method string, a args) (protoreflect.Message, error) {
	name := strings.ToUpper(method[:1]) + method[1:]
	req, err := message(name + "RequestProto")
	if err != nil {
		return nil, err
	}
	resp, err := message(name + "ResponseProto")
	if err != nil {
		return nil, err
	}
	a.set(req)
	if err := s.exec.Execute(method, req.Interface(), resp.Interface()); err != nil {
		return nil, err
	}
	return resp, nil
}

// inner is a message inside another one, nil if it is not there.
func inner(m protoreflect.Message, field protoreflect.Name) protoreflect.Message {
	f := m.Descriptor().Fields().ByName(field)
	if f == nil || !m.Has(f) {
		return nil
	}
	return m.Get(f).Message()
}

// get is a field's value, the default's if it is not there.
func get(m protoreflect.Message, field protoreflect.Name) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(field))
}

const (
	typeFolder = 1
	typeFile   = 2
)

func (s *session) stat(name string) (*hadoop.FileStatus, error) {
	resp, err := s.call("getFileInfo", args{"src": name})
	if err != nil {
		return nil, err
	}
	fs := inner(resp, "fs")
	if fs == nil {
		return nil, os.ErrNotExist
	}
	return fs.Interface().(*hadoop.FileStatus), nil
}

// list returns the entries of a folder that come after a name, as many as the server likes, and how many remain.
func (s *session) list(name string, after []byte) ([]*hadoop.FileStatus, int, error) {
	resp, err := s.call("getListing", args{"src": name, "startAfter": after, "needLocation": false})
	if err != nil {
		return nil, 0, err
	}
	dir := inner(resp, "dirList")
	if dir == nil {
		return nil, 0, os.ErrNotExist
	}
	all := get(dir, "partialListing").List()
	out := make([]*hadoop.FileStatus, all.Len())
	for i := range out {
		out[i] = all.Get(i).Message().Interface().(*hadoop.FileStatus)
	}
	return out, int(get(dir, "remainingEntries").Uint()), nil
}

func (s *session) mkdirs(name string, perm os.FileMode) error {
	_, err := s.call("mkdirs", args{"src": name, "masked": args{"perm": uint32(perm)}, "createParent": true})
	return err
}

// remove removes a file or an empty folder.
func (s *session) remove(name string) error {
	_, err := s.call("delete", args{"src": name, "recursive": false})
	return err
}

// removeFolder removes a folder and all that is in it.
func (s *session) removeFolder(name string) error {
	_, err := s.call("delete", args{"src": name, "recursive": true})
	return err
}

// rename fails where the new name is taken.
func (s *session) rename(from, to string) error {
	_, err := s.call("rename2", args{"src": from, "dst": to, "overwriteDest": false})
	return err
}

// flagCreate is create's flag for a new file: without the one for overwriting, a taken name is an error.
const flagCreate = 1

// createEmpty makes an empty file and returns its number.
func (s *session) createEmpty(name string, o Options) (uint64, error) {
	replication, block := s.layout(o)
	resp, err := s.call("create", args{"src": name, "masked": args{"perm": uint32(o.filePerm())}, "clientName": s.c.Name(), "createFlag": uint32(flagCreate),
		"createParent": true, "replication": uint32(replication), "blockSize": uint64(block)})
	if err != nil {
		return 0, err
	}
	fs := inner(resp, "fs")
	if fs == nil {
		return 0, errors.New("the NameNode has created a file and says nothing of it")
	}
	id := fs.Interface().(*hadoop.FileStatus).GetFileId()
	resp, err = s.call("complete", args{"src": name, "clientName": s.c.Name(), "fileId": id})
	if err == nil && !get(resp, "result").Bool() {
		err = hadoop.ErrReplicating // there is no block that could be
	}
	return id, err
}

// blocks says where the blocks of a file are, its length, and whether somebody has it open for writing.
func (s *session) blocks(name string, offset, length uint64) (blocks protoreflect.List, size uint64, open bool, err error) {
	resp, err := s.call("getBlockLocations", args{"src": name, "offset": offset, "length": length})
	if err != nil {
		return nil, 0, false, err
	}
	located := inner(resp, "locations")
	if located == nil {
		return nil, 0, false, os.ErrNotExist
	}
	return get(located, "blocks").List(), get(located, "fileLength").Uint(), get(located, "underConstruction").Bool(), nil
}

// prime fetches the key for encrypted transfer into the client, which would do so later and without a lock, from any
// reader or writer.
func (s *session) prime() error {
	resp, err := s.call("getDataEncryptionKey", nil)
	if err != nil {
		return err
	}
	key := inner(resp, "dataEncryptionKey")
	field := reflect.ValueOf(s.c).Elem().FieldByName("encryptionKey")
	if key == nil || !field.IsValid() || field.Type() != reflect.TypeOf(key.Interface()) {
		return nil
	}
	reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().Set(reflect.ValueOf(key.Interface()))
	return nil
}
