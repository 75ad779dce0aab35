//! Programs that must still work.
//!
//! For: the other half of containment. Each program checks itself, exits with 0 and prints `ok` last.
//! Not for: programs that are not installed: those are not judged, and neither are those that do not work outside
//! of the sandbox either.
//! Runs in: the table and its judge in the process of `jail selftest`, the programs in a jail; outside only those
//! that failed inside.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jail::Report;
use jail::report::VerdictKind;

use super::judge::Outcome;
use super::run::Runner;
use super::{Case, Class};

pub(super) const CASES: &[Case] = &[
    Case::program("works-python", "python: json, re, files, subprocess with pipes", &["python3", "-c", PYTHON_BASIC]),
    Case::program(
        "works-python-threads",
        "python: 16 threads, queue, condition, timers",
        &["python3", "-c", PYTHON_THREADS],
    ),
    Case::program(
        "works-python-processes",
        "python: multiprocessing with pool, queue, lock, shared value",
        &["python3", "-c", PYTHON_PROCESSES],
    ),
    Case::program(
        "works-python-shared",
        "python: shared memory, mmap, memory files",
        &["python3", "-c", PYTHON_SHARED],
    ),
    Case::program(
        "works-python-sqlite",
        "python: sqlite on disk, two connections, locks",
        &["python3", "-c", PYTHON_SQLITE],
    ),
    Case::program(
        "works-python-ssl",
        "python: ssl context, handshake in memory, hashes, random",
        &["python3", "-c", PYTHON_SSL],
    ),
    Case::program(
        "works-python-async",
        "python: asyncio, unix server, subprocess, epoll",
        &["python3", "-c", PYTHON_ASYNC],
    ),
    Case::program(
        "works-python-unicode",
        "python: UTF-8 output, file names, locale",
        &["python3", "-c", PYTHON_UNICODE],
    ),
    Case::program(
        "works-python-codecs",
        "python: zlib, lzma, tar, decimal, datetime with time zones",
        &["python3", "-c", PYTHON_CODECS],
    ),
    Case::program(
        "works-pty",
        "a terminal of its own: openpty, sessions, window size, Ctrl-C",
        &["python3", "-c", PTY],
    ),
    Case::program(
        "works-signals",
        "signals: handlers, masks, groups, SIGCHLD, wait status",
        &["python3", "-c", SIGNALS],
    ),
    Case::program(
        "works-timers",
        "timers: alarm, interval, timerfd by select, monotonic clocks",
        &["python3", "-c", TIMERS],
    ),
    Case::program("works-locks", "file locks: flock, lockf, between processes", &["python3", "-c", LOCKS]),
    Case::program("works-files", "files: rename, links, sparse, times, modes, named pipes", &["python3", "-c", FILES]),
    Case::program("works-gcc", "gcc: compile C, run what comes out", &["sh", "-c", GCC]),
    Case::program(
        "works-gcc-threads",
        "gcc: threads, thread-local storage, atomics, optimised",
        &["sh", "-c", GCC_THREADS],
    ),
    Case::program("works-g++", "g++: exceptions, iostreams, std::thread", &["sh", "-c", GXX]),
    Case::program("works-make", "make: rules and jobs", &["sh", "-c", MAKE]),
    Case::program("works-node", "node: files, timers, promises, buffers", &["node", "-e", NODE]),
    Case::program("works-node-workers", "node: worker threads, child processes", &["node", "-e", NODE_WORKERS]),
    Case::program("works-perl", "perl: regular expressions, fork, pipes", &["perl", "-e", PERL]),
    Case::program("works-shell", "sh: pipes, here-documents, functions, traps, sort, awk, xargs", &["sh", "-c", SHELL]),
    Case::program("works-bash", "bash: arrays, process substitution, job control, coproc", &["bash", "-c", BASH]),
    Case::program("works-tools", "find, tar, gzip, sed, dd, timeout, date, sort", &["sh", "-c", TOOLS]),
    Case::program("works-openssl", "openssl: digest, key, signature", &["sh", "-c", OPENSSL]),
    Case::program("works-git", "git: init, commit, log, in a scratch directory", &["sh", "-c", GIT]),
    Case::attempt(
        "works-landlock",
        Class::Works,
        "a program that confines itself further (Landlock)",
        |i| {
            i.calls(&["landlock_create_ruleset:version"]);
        },
        |_, s| {
            if s.outside("landlock_create_ruleset:version").is_none() {
                return Outcome::not_judged("this kernel has no Landlock");
            }
            s.finished().and(|| match s.number("landlock_create_ruleset:version") {
                Some(abi) => Outcome::held(format!("ABI {abi}")),
                None => Outcome::failed(format!("{:?}", s.inside)),
            })
        },
    ),
];

const PYTHON_BASIC: &str = "
import json, re, subprocess, tempfile, os, sys
assert json.loads(json.dumps({'a': [1, 2.5, None, 'ü']})) == {'a': [1, 2.5, None, 'ü']}
assert re.findall(r'\\d+', 'a1b22') == ['1', '22']
with tempfile.TemporaryDirectory() as d:
    p = os.path.join(d, 'f')
    open(p, 'w').write('x' * 100000)
    assert os.path.getsize(p) == 100000
out = subprocess.run([sys.executable, '-c', 'print(input()[::-1])'], input='abc', capture_output=True, text=True)
assert out.stdout == 'cba\\n', out
print('ok')
";

const PYTHON_THREADS: &str = "
import queue, threading
q, done, lock, total = queue.Queue(), threading.Condition(), threading.Lock(), [0]
def work():
    while (n := q.get()) is not None:
        with lock: total[0] += n
threads = [threading.Thread(target=work) for _ in range(16)]
for t in threads: t.start()
for n in range(1000): q.put(n)
for t in threads: q.put(None)
for t in threads: t.join()
assert total[0] == 499500, total
fired = threading.Event()
threading.Timer(0.05, fired.set).start()
assert fired.wait(10)
print('ok')
";

const PYTHON_PROCESSES: &str = "
import multiprocessing as mp
def square(n): return n * n
def add(value, lock, queue):
    for _ in range(100):
        with lock: value.value += 1
    queue.put('done')
if __name__ == '__main__':
    mp.set_start_method('fork')
    with mp.Pool(3) as pool: assert pool.map(square, range(10)) == [n * n for n in range(10)]
    value, lock, queue = mp.Value('i', 0), mp.Lock(), mp.Queue()
    workers = [mp.Process(target=add, args=(value, lock, queue)) for _ in range(3)]
    for w in workers: w.start()
    for w in workers: assert queue.get(timeout=20) == 'done'
    for w in workers: w.join()
    assert value.value == 300, value.value
    print('ok')
";

const PYTHON_SHARED: &str = "
import mmap, os
from multiprocessing import shared_memory
one = shared_memory.SharedMemory(create=True, size=65536)
two = shared_memory.SharedMemory(name=one.name)
one.buf[:5] = b'hello'
assert bytes(two.buf[:5]) == b'hello'
two.close(); one.close(); one.unlink()
fd = os.memfd_create('x')
os.ftruncate(fd, 8192)
with mmap.mmap(fd, 8192) as m:
    m[0:3] = b'abc'; m.flush()
assert os.pread(fd, 3, 0) == b'abc'
m = mmap.mmap(-1, 1 << 20)
if os.fork() == 0:
    m[0:5] = b'child'
    os._exit(0)
os.wait()
assert m[0:5] == b'child'
print('ok')
";

const PYTHON_SQLITE: &str = "
import sqlite3, tempfile, os
with tempfile.TemporaryDirectory() as d:
    path = os.path.join(d, 'db')
    a, b = sqlite3.connect(path, timeout=0.1), sqlite3.connect(path, timeout=0.1)
    a.execute('create table t (n integer primary key, s text)')
    with a: a.executemany('insert into t (s) values (?)', [('x%d' % n,) for n in range(1000)])
    assert b.execute('select count(*), max(n) from t').fetchone() == (1000, 1000)
    a.execute('begin exclusive')
    try: b.execute('insert into t (s) values (1)'); raise SystemExit('not locked')
    except sqlite3.OperationalError as e: assert 'locked' in str(e), e
    a.rollback()
    assert a.execute('pragma journal_mode=wal').fetchone()[0] == 'wal'
    with b: b.execute('delete from t where n > 10')
    assert a.execute('select count(*) from t').fetchone() == (10,)
    a.close(); b.close()
print('ok')
";

const PYTHON_SSL: &str = "
import hashlib, os, secrets, ssl
assert hashlib.sha256(b'abc').hexdigest().startswith('ba7816bf')
assert len(secrets.token_bytes(32)) == 32 and os.urandom(8) != os.urandom(8)
context = ssl.create_default_context()
assert context.verify_mode == ssl.CERT_REQUIRED
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
client = context.wrap_bio(incoming, outgoing, server_hostname='example.org')
try: client.do_handshake()
except ssl.SSLWantReadError: pass
hello = outgoing.read()
assert hello[0] == 22 and b'example.org' in hello
print('ok')
";

const PYTHON_ASYNC: &str = "
import asyncio, os, sys, tempfile
async def main():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, 's')
        async def serve(reader, writer):
            writer.write((await reader.readline()).upper()); await writer.drain(); writer.close()
        server = await asyncio.start_unix_server(serve, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'hello\\n')
        assert await asyncio.wait_for(reader.readline(), 20) == b'HELLO\\n'
        writer.close(); server.close()
    p = await asyncio.create_subprocess_exec(sys.executable, '-c', 'print(6 * 7)', stdout=asyncio.subprocess.PIPE)
    out, _ = await p.communicate()
    assert out == b'42\\n', out
    await asyncio.gather(*(asyncio.sleep(0.02) for _ in range(200)))
asyncio.run(main())
print('ok')
";

const PYTHON_UNICODE: &str = "
import locale, os, sys, tempfile
assert sys.getfilesystemencoding() == 'utf-8', sys.getfilesystemencoding()
locale.setlocale(locale.LC_ALL, '')
assert locale.nl_langinfo(locale.CODESET).upper() == 'UTF-8', locale.nl_langinfo(locale.CODESET)
with tempfile.TemporaryDirectory() as d:
    name = 'grüße-日本-😀'
    open(os.path.join(d, name), 'w').write('ß')
    assert os.listdir(d) == [name]
print('žluťoučký 日本 😀')
print('ok')
";

const PYTHON_CODECS: &str = "
import bz2, datetime, decimal, io, lzma, tarfile, zlib, zoneinfo
data = b'abc' * 100000
for codec in (zlib, bz2, lzma): assert codec.decompress(codec.compress(data)) == data
buffer = io.BytesIO()
with tarfile.open(fileobj=buffer, mode='w:gz') as t:
    info = tarfile.TarInfo('x'); info.size = len(data); t.addfile(info, io.BytesIO(data))
buffer.seek(0)
with tarfile.open(fileobj=buffer) as t: assert t.extractfile('x').read() == data
assert decimal.Decimal(1) / 7 != 0
assert datetime.datetime.now(datetime.timezone.utc).year >= 2020
assert zoneinfo.ZoneInfo('UTC').utcoffset(datetime.datetime(2026, 1, 1)) == datetime.timedelta(0)
print('ok')
";

const PTY: &str = "
import fcntl, os, pty, signal, struct, termios, time
pid, fd = pty.fork()
if pid == 0:
    assert os.isatty(0) and os.getsid(0) == os.getpid()
    signal.signal(signal.SIGINT, lambda *_: (os.write(1, b'caught'), os._exit(5)))
    os.write(1, b'ready %d' % os.get_terminal_size().columns)
    time.sleep(20)
    os._exit(1)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 77, 0, 0))
seen = b''
while b'ready' not in seen: seen += os.read(fd, 100)
os.write(fd, b'\\x03')
while b'caught' not in seen: seen += os.read(fd, 100)
_, status = os.waitpid(pid, 0)
assert os.WEXITSTATUS(status) == 5, status
print('ok')
";

const SIGNALS: &str = "
import os, signal, time
seen = []
for s in (signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD): signal.signal(s, lambda n, _: seen.append(n))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
assert not seen and signal.SIGUSR1 in signal.sigpending()
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGTERM)
assert seen == [signal.SIGUSR1, signal.SIGTERM], seen
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if os.fork() == 0: time.sleep(20)
    time.sleep(20); os._exit(0)
while True:
    try:
        if os.getpgid(pid) == pid: break
    except ProcessLookupError: pass
    time.sleep(0.01)
os.killpg(pid, signal.SIGTERM)
_, status = os.waitpid(pid, 0)
assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM, status
assert signal.SIGCHLD in seen
assert signal.sigtimedwait([signal.SIGUSR2], 0.01) is None
print('ok')
";

const TIMERS: &str = "
import select, signal, time
hits = []
signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
while len(hits) < 3: signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGVTALRM, lambda *_: hits.append('v'))
signal.setitimer(signal.ITIMER_VIRTUAL, 0.02)
while 'v' not in hits: sum(range(1000))
began = time.monotonic()
assert select.select([], [], [], 0.05) == ([], [], [])
assert time.monotonic() - began >= 0.049
assert time.clock_gettime(time.CLOCK_BOOTTIME) > 0 and time.process_time() > 0
print('ok')
";

const LOCKS: &str = "
import fcntl, os, tempfile
with tempfile.NamedTemporaryFile() as f:
    for lock in (fcntl.flock, fcntl.lockf):
        lock(f, fcntl.LOCK_EX)
        r, w = os.pipe()
        if os.fork() == 0:
            with open(f.name, 'r+') as g:
                try: lock(g, fcntl.LOCK_EX | fcntl.LOCK_NB); os.write(w, b'taken')
                except BlockingIOError: os.write(w, b'held')
                os.read(0, 0)
            os._exit(0)
        assert os.read(r, 10) == b'held', lock
        os.wait()
        lock(f, fcntl.LOCK_UN)
        if os.fork() == 0:
            with open(f.name, 'r+') as g: lock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os._exit(0)
        assert os.wait()[1] == 0
print('ok')
";

const FILES: &str = "
import os, stat, tempfile
with tempfile.TemporaryDirectory() as d:
    os.chdir(d)
    open('a', 'w').write('x')
    os.link('a', 'b'); os.symlink('a', 'c'); os.rename('a', 'd')
    assert os.stat('b').st_nlink == 2 and os.readlink('c') == 'a' and not os.path.exists('c')
    os.chmod('d', 0o640); assert stat.S_IMODE(os.stat('d').st_mode) == 0o640
    os.utime('d', (1, 2)); assert os.stat('d').st_mtime == 2
    with open('s', 'wb') as f: f.truncate(1 << 19); f.seek(1 << 18); f.write(b'x'); os.fsync(f.fileno())
    assert os.stat('s').st_size == 1 << 19
    os.mkfifo('p'); assert stat.S_ISFIFO(os.stat('p').st_mode)
    assert os.stat('d').st_uid == os.getuid()
    os.makedirs('x/y/z'); os.removedirs('x/y/z')
    assert sorted(e.name for e in os.scandir('.')) == ['b', 'c', 'd', 'p', 's']
    assert os.statvfs('.').f_bsize > 0 and os.access('d', os.R_OK | os.W_OK)
print('ok')
";

const GCC: &str = r#"
set -e
command -v gcc >/dev/null || { echo 'gcc: not installed' >&2; exit 127; }
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
cat > a.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
    char *p = malloc(1 << 20);
    memset(p, 'x', 1 << 20);
    printf("%d %s %c\n", argc, argv[1], p[12345]);
    return 7;
}
END
gcc -Wall -O2 -o a a.c
test "$(./a hello || test $? = 7)" = "2 hello x"
gcc -shared -fPIC -o liba.so a.c
echo ok
"#;

const GCC_THREADS: &str = r#"
set -e
command -v gcc >/dev/null || { echo 'gcc: not installed' >&2; exit 127; }
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
cat > a.c <<'END'
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <math.h>
static atomic_int total;
static _Thread_local int own;
static void *work(void *n) { for (int i = 0; i < 10000; i++) { own++; total++; } return (void *)(long)(own == 10000); }
int main(void) {
    pthread_t t[8]; int good = 1; void *r;
    for (int i = 0; i < 8; i++) if (pthread_create(&t[i], 0, work, 0)) return 1;
    for (int i = 0; i < 8; i++) { pthread_join(t[i], &r); good &= r != 0; }
    printf("%d %d %.0f\n", good, total, sqrt(144.0));
}
END
gcc -O3 -march=native -pthread -o a a.c -lm
test "$(./a)" = "1 80000 12"
echo ok
"#;

const GXX: &str = r#"
set -e
command -v g++ >/dev/null || { echo 'g++: not installed' >&2; exit 127; }
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
cat > a.cc <<'END'
#include <iostream>
#include <stdexcept>
#include <thread>
#include <vector>
int main() {
    std::vector<int> v(1000, 3);
    long sum = 0;
    std::thread t([&] { for (int n : v) sum += n; });
    t.join();
    try { v.at(5000); } catch (const std::out_of_range &) { std::cout << sum << std::endl; }
}
END
g++ -O1 -std=c++17 -pthread -o a a.cc
test "$(./a)" = 3000
echo ok
"#;

const MAKE: &str = r#"
set -e
command -v make >/dev/null || { echo 'make: not installed' >&2; exit 127; }
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
printf 'all: a b c\n\tcat $^ > $@\n%%: %%.in\n\tsleep 0.05; tr a-z A-Z < $< > $@\n' > Makefile
for f in a b c; do echo $f > $f.in; done
make -s -j3
test "$(tr -d '\n' < all)" = ABC
echo ok
"#;

const NODE: &str = "
const assert = require('assert'), fs = require('fs'), os = require('os'), path = require('path');
(async () => {
  const d = fs.mkdtempSync(path.join(os.tmpdir(), 'n-'));
  await fs.promises.writeFile(path.join(d, 'f'), 'grüße');
  assert.strictEqual(fs.readFileSync(path.join(d, 'f'), 'utf8'), 'grüße');
  fs.rmSync(d, { recursive: true });
  const began = process.hrtime.bigint();
  await new Promise(r => setTimeout(r, 30));
  assert(process.hrtime.bigint() - began > 20000000n);
  assert.strictEqual(require('crypto').createHash('sha256').update('abc').digest('hex').slice(0, 8), 'ba7816bf');
  let n = 0; for (let i = 0; i < 1e6; i++) n += i % 7;
  assert(n > 0 && [3, 1, 2].sort().join('') === '123');
  assert.strictEqual(require('zlib').gunzipSync(require('zlib').gzipSync('x')).toString(), 'x');
  console.log('ok');
})().catch(e => { console.error(e); process.exit(1); });
";

const NODE_WORKERS: &str = "
const assert = require('assert'), { Worker } = require('worker_threads'), cp = require('child_process');
const code = 'const { parentPort, workerData } = require(\"worker_threads\"); parentPort.postMessage(workerData * 2)';
const one = n => new Promise((done, fail) => {
  const w = new Worker(code, { eval: true, workerData: n }); w.on('message', done); w.on('error', fail);
});
Promise.all([1, 2].map(one)).then(all => {
  assert.deepStrictEqual(all, [2, 4]);
  assert.strictEqual(cp.execFileSync('cat', { input: 'abc' }).toString(), 'abc');
  console.log('ok');
}).catch(e => { console.error(e); process.exit(1); });
";

const PERL: &str = r#"
use strict; use warnings;
my %count; $count{$_}++ for "the cat and the dog and the cow" =~ /\w+/g;
die unless $count{the} == 3 and join(",", sort keys %count) eq "and,cat,cow,dog,the";
pipe(my $r, my $w) or die;
my $pid = fork // die;
if (!$pid) { close $r; print $w "from the child\n"; close $w; exit 3 }
close $w; my $line = <$r>; waitpid $pid, 0;
die "$line $?" unless $line eq "from the child\n" and $? >> 8 == 3;
print "ok\n";
"#;

const BASH: &str = r#"
set -eu
declare -A color=([apple]=red [fig]=blue)
list=(a b c)
test "${color[fig]} ${list[*]: -1}" = "blue c"
test "$(paste -d, <(echo 1; echo 2) <(echo x; echo y) | tail -1)" = 2,y
coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; test "$line" = through
kill "$COPROC_PID"; wait "$COPROC_PID" || true
set -m
sleep 20 & kill %1; wait %1 || test $? = 143
[[ abc123 =~ ^([a-z]+)([0-9]+)$ ]] && test "${BASH_REMATCH[2]}" = 123
echo ok
"#;

const TOOLS: &str = r#"
set -e
d=$(mktemp -d); cd "$d"; trap 'cd /; rm -rf "$d"' EXIT
mkdir -p a/b; echo one > a/1; echo two > a/b/2; ln -s 1 a/link
tar czf a.tar.gz a; mkdir x; tar xzf a.tar.gz -C x
diff -r a x/a
test "$(find x -type f | sort | tr '\n' ' ')" = "x/a/1 x/a/b/2 "
test "$(sed -n 's/o\(n\)e/\1/p' a/1)" = n
dd if=/dev/zero of=z bs=64k count=8 2>/dev/null; test "$(wc -c < z)" -eq 524288
timeout 0.05 sleep 20 || test $? = 124
test "$(date -u -d @86400 +%F)" = 1970-01-02
seq 1000 | sort -R | sort -n | tail -1 | grep -qx 1000
head -c 16 /dev/urandom | od -An -tx1 | grep -q .
echo x > /dev/null; echo y > /dev/stderr 2>/dev/null
echo ok
"#;

const OPENSSL: &str = r#"
set -e
command -v openssl >/dev/null || { echo 'openssl: not installed' >&2; exit 127; }
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
test "$(printf abc | openssl dgst -sha256 -r | cut -c1-8)" = ba7816bf
openssl genpkey -algorithm ed25519 -out key 2>/dev/null
openssl pkey -in key -pubout -out pub
echo text > text
openssl pkeyutl -sign -inkey key -rawin -in text -out sig
openssl pkeyutl -verify -pubin -inkey pub -rawin -in text -sigfile sig >/dev/null
echo ok
"#;

const GIT: &str = r#"
set -e
command -v git >/dev/null || { echo 'git: not installed' >&2; exit 127; }
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_GLOBAL=/dev/null
git init -q .; echo one > f; git add f; git commit -qm first; echo two >> f; git commit -qam second
test "$(git log --oneline | wc -l)" -eq 2
git checkout -q HEAD~1; test "$(cat f)" = one
git gc -q
echo ok
"#;

const SHELL: &str = r#"
set -eu
cd "${TMPDIR:-/tmp}"
words() { printf '%s\n' pear apple fig apple; }
test "$(words | sort | uniq -c | sort -rn | awk 'NR==1 {print $1 $2}')" = 2apple
cat > file.$$ <<END
one $((1 + 2)) $(echo three)
END
test "$(cat file.$$)" = "one 3 three"
test "$(words | xargs -n 2 echo | wc -l | tr -d ' ')" = 2
trap 'caught=yes' USR1
kill -USR1 $$
test "$caught" = yes
(sleep 0.05; exit 7) & wait $! || test $? = 7
rm file.$$
echo ok
"#;

/// Longest that a program may take outside.
const PATIENCE: Duration = Duration::from_secs(30);
/// A program whose time runs out is not judged where it is no more than so many times as fast outside: the machine is
/// slow. It is allowed several processors there.
const SLOW: u32 = 4;

/// Runs one, and judges it.
pub(super) fn program(runner: &Runner<'_>, command: &'static [&'static str]) -> (Outcome, Option<Report>) {
    let words = || command.iter().map(OsString::from).collect::<Vec<_>>();
    let run = match runner.start(&[], Stdio::null(), |_, _, _| words()) {
        Ok(live) => live.finish(runner),
        Err(outcome) => return (outcome, None),
    };
    let report = match run.report() {
        Ok(report) => report.clone(),
        Err(outcome) => return (outcome, None),
    };
    let outcome = if report.verdict.kind == VerdictKind::ExecFailed {
        let message = report.error.as_ref().map_or("", |error| &error.message);
        Outcome::not_judged(format!("is not installed in the view: {message}"))
    } else if report.verdict.kind == VerdictKind::Ok && run.stdout.ends_with(b"ok\n") {
        match run.leftovers.first() {
            None => Outcome::held(format!("{} ms", run.elapsed.as_millis())),
            Some(left) => Outcome::failed(format!("left behind: {left}")),
        }
    } else if report.exit.is_some_and(|exit| exit.code == Some(127)) && run.stderr.contains("not installed") {
        Outcome::not_judged(format!("is not installed in the view: {}", run.stderr.trim()))
    } else {
        let said = run.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        let seen = format!("{}: {said}", super::judge::word(report.verdict.kind));
        let ran_out = matches!(report.verdict.kind, VerdictKind::CpuTime | VerdictKind::WallTime);
        match outside(runner, command) {
            Ok(took) if ran_out && took * SLOW > run.elapsed => {
                Outcome::not_judged(format!("takes {:.1} s outside too, and here {seen}", took.as_secs_f64()))
            }
            Ok(_) => Outcome::failed(seen),
            Err(reason) => Outcome::not_judged(format!("does not work outside either: {reason}")),
        }
    };
    (outcome, Some(report))
}

/// The same program without a sandbox: how long it takes.
fn outside(runner: &Runner<'_>, command: &[&str]) -> Result<Duration, String> {
    let Some((program, rest)) = command.split_first() else { return Err("it has no name".to_owned()) };
    let scratch = runner.world.at("scratch");
    let mut line = Command::new(program);
    line.args(rest).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
    line.env("HOME", &scratch).env("TMPDIR", &scratch).current_dir(&scratch);
    let spawned = line.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = spawned.map_err(|error| jail::describe(&error))?;
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(began.elapsed()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if began.elapsed() > PATIENCE * runner.world.slow || runner.is_cancelled() => {
                let _gone = child.kill();
                let _reaped = child.wait();
                return Err(format!("it does not end within {} s", began.elapsed().as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(jail::describe(&error)),
        }
    }
}
