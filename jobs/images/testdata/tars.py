#!/usr/bin/env python3
"""Makes the .tar files beside it with GNU tar, Python's tarfile and libarchive (what bsdtar is made of).

    python3 jobs/images/testdata/tars.py
"""
import ctypes, ctypes.util, os, subprocess, tarfile, tempfile

OUT = os.path.dirname(os.path.abspath(__file__))
JPG = b'\xff\xd8\xff\xe0'
FILES = {'a/one.jpg': b'1', 'a/one.json': b'{}', 'a/\u00e4.png': b'umlaut', 'sniffed': JPG + b'12345678'}
SHORT = 'd' * 70 + '/' + 'e' * 70 + '/deep.jpg'  # more than the 100 bytes of the oldest field, within what ustar has
LONG = 'd' * 120 + '/' + 'e' * 200 + '/deep.jpg'
NAMES = ['a', 'a/one.jpg', 'a/one.json', 'a/\u00e4.png', 'sniffed', 'hard.jpg', 'link.jpg']

def tree(root, deep):
    for name, data in {**FILES, deep: b'deep'}.items():
        p = os.path.join(root, name)
        os.makedirs(os.path.dirname(p), exist_ok=True)
        with open(p, 'wb') as f:
            f.write(data)
    os.link(f'{root}/a/one.jpg', f'{root}/hard.jpg')
    os.symlink('a/one.jpg', f'{root}/link.jpg')
    with open(f'{root}/holes.jpg', 'wb') as f:  # sparse
        f.truncate(1 << 20)
        f.seek(512 << 10)
        f.write(b'in the middle')

def gnu(root, out, how, names, *more):
    subprocess.run(['tar', '-C', root, '-b', '1', '--no-recursion', '--owner=user:1', '--group=group:1', '--mtime=2026-01-02T03:04:05.678Z',
        '--mode=go-w', '--format=' + how, *more, '-cf', f'{OUT}/{out}.tar', *names], check=True)

def python(root, out, how, names):
    def same(i):
        i.uid = i.gid = 1
        i.uname, i.gname, i.mtime = 'user', 'group', 1767323045
        return i
    with tarfile.open(f'{OUT}/{out}.tar', 'w', format=how) as t:
        for n in names:
            t.add(os.path.join(root, n), n, recursive=False, filter=same)

def libarchive(root, out, how, names):
    l = ctypes.CDLL(ctypes.util.find_library('archive') or 'libarchive.so.13')
    for f in ('archive_write_new', 'archive_entry_new', 'archive_read_disk_new'):
        getattr(l, f).restype = ctypes.c_void_p
    p, n = ctypes.c_void_p, ctypes.c_char_p
    a = p(l.archive_write_new())
    assert getattr(l, 'archive_write_set_format_' + how)(a) == 0
    assert l.archive_write_open_filename(a, f'{OUT}/{out}.tar'.encode()) == 0
    for name in names:
        path = os.path.join(root, name)
        st, e = os.lstat(path), p(l.archive_entry_new())
        l.archive_entry_set_pathname(e, name.encode())
        l.archive_entry_set_mode(e, ctypes.c_uint(st.st_mode))
        l.archive_entry_set_mtime(e, ctypes.c_int64(1767323045), ctypes.c_long(678000000))
        data = b''
        if name == 'hard.jpg':
            l.archive_entry_set_hardlink(e, b'a/one.jpg')
        elif os.path.islink(path):
            l.archive_entry_set_symlink(e, b'a/one.jpg')
        elif os.path.isfile(path):
            data = open(path, 'rb').read()
        l.archive_entry_set_size(e, ctypes.c_int64(len(data)))
        assert l.archive_write_header(a, e) >= -20, name
        if data:
            assert l.archive_write_data(a, data, ctypes.c_size_t(len(data))) == len(data)
    assert l.archive_write_close(a) == 0

for deep in SHORT, LONG:
    with tempfile.TemporaryDirectory() as root:
        tree(root, deep)
        names = NAMES + [deep]
        if deep == SHORT:
            gnu(root, 'gnu-ustar', 'ustar', names)
            python(root, 'python-ustar', tarfile.USTAR_FORMAT, names)
            libarchive(root, 'libarchive-ustar', 'ustar', names)
            continue
        gnu(root, 'gnu-gnu', 'gnu', names)
        gnu(root, 'gnu-pax', 'posix', names)
        python(root, 'python-gnu', tarfile.GNU_FORMAT, names)
        python(root, 'python-pax', tarfile.PAX_FORMAT, names)
        libarchive(root, 'libarchive-pax', 'pax', names)
        gnu(root, 'gnu-sparse', 'gnu', ['a/one.jpg', 'holes.jpg'], '--sparse', '--hole-detection=raw')
        for v in '0.0', '0.1', '1.0':
            gnu(root, 'gnu-pax-sparse-' + v, 'posix', ['a/one.jpg', 'holes.jpg'], '--sparse', '--hole-detection=raw', '--sparse-version=' + v)
