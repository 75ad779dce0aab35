"""What a guest is made of: QEMU, kernels, initial file systems, the systemd image; fetched once, kept in a cache.

For: putting each of them into the cache and saying where it is.
Not for: running a guest (see `run`).

Everything comes through apt-get, from the mirror that this machine's own apt uses. Packages of other suites are
downloaded with a configuration of their own and unpacked in the cache: neither the machine's package sources nor
its installed packages change, except that the few tools in TOOLS are installed when they are missing.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

GUEST = pathlib.Path(__file__).resolve().parent / "guest"

# Program, Debian package. The first is QEMU for hosts where the newer one cannot be unpacked.
TOOLS = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
    ("setpriv", "util-linux"),
]
IMAGE_TOOLS = [("mmdebstrap", "mmdebstrap"), ("mkfs.erofs", "erofs-utils")]

# What a name means: the series to try, in this order. The mirror has one or two kernels between long-term ones.
SERIES = {"6.18": ["6.18", "6.17", "6.16"]}

# Where a series is to be had.
SUITES = {"5.10": ["bullseye"], "6.1": ["bookworm"], "6.12": ["trixie"]}
NEWER = ["trixie-backports", "sid"]
# These have no security suite of their own.
ROLLING = {"bookworm-backports", "trixie-backports", "sid"}

# How long it is taken on trust which kernel is the newest.
NEWEST_FOR = 7 * 24 * 3600

# In the order in which they are loaded; what one needs is loaded before it.
MODULES = (
    "virtio_pci virtio_mmio virtio_blk virtio_console virtio_rng virtiofs overlay erofs ext4 loop "
    "veth tun dummy bridge lzo-rle zram binfmt_misc autofs4"
).split()

# The user of every guest.
UID = 61234


class Missing(Exception):
    """Something that a guest needs cannot be had; the text says what, why, and what to do."""


def cache() -> pathlib.Path:
    """The cache directory, outside the checkout."""
    named = os.environ.get("JAIL_VM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    path = pathlib.Path(named) if named else pathlib.Path(base) / "jail-vm"
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


@contextlib.contextmanager
def alone(name: str):
    """Lets one process at a time make a thing in the cache; the others wait, and then find it made."""
    with open(cache() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(text: str):
    print(f"vm: {text}", file=sys.stderr, flush=True)


def output(*command, **options) -> str:
    """What a command prints. Its failure is `Missing`, with what it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Missing(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stderr.strip()}")
    return done.stdout


def find_tool(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/libexec:/usr/lib/qemu")


def install(tools):
    """Installs the packages of the programs that are missing."""
    packages = [package for program, package in tools if not find_tool(program)]
    if not packages:
        return
    with alone("install"):
        packages = [package for program, package in tools if not find_tool(program)]
        if not packages:
            return
        say(f"installing {' '.join(packages)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        output("apt-get", "-qq", "update", env=environment)
        output("apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages, env=environment)


def mirror() -> tuple[str, str]:
    """The addresses of the archive and of its security suites, as this machine's apt has them."""
    targets = output("apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)").splitlines()
    found = dict(line.split("|", 1) for line in targets if "|" in line)
    main = os.environ.get("JAIL_VM_MIRROR") or found.get("Debian")
    if not main:
        raise Missing(
            "this machine's apt has no Debian archive: run apt-get update, or name a mirror in JAIL_VM_MIRROR"
        )
    main = main.rstrip("/")
    return main, found.get("Debian-Security", f"{main}-security").rstrip("/")


class Apt:
    """An apt configuration of our own, for some suites; the machine's is not touched."""

    def __init__(self, suites):
        self.home = cache() / "apt" / "-".join(suites)
        for part in ["empty", "lists/partial", "cache/archives/partial"]:
            (self.home / part).mkdir(parents=True, exist_ok=True)
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        if not os.path.exists(keyring):
            raise Missing(f"{keyring} is missing: apt-get install debian-archive-keyring")
        main, security = mirror()
        lines = []
        for suite in suites:
            lines.append(f"deb [signed-by={keyring}] {main} {suite} main")
            if suite not in ROLLING:
                lines.append(f"deb [signed-by={keyring}] {security} {suite}-security main")
        (self.home / "sources.list").write_text("\n".join(lines) + "\n")
        (self.home / "apt.conf").write_text(
            f'Dir::Etc::SourceList "{self.home}/sources.list";\n'
            f'Dir::Etc::SourceParts "{self.home}/empty";\n'
            'Dir::Etc::Preferences "/dev/null";\n'
            f'Dir::Etc::PreferencesParts "{self.home}/empty";\n'
            f'Dir::State::lists "{self.home}/lists";\n'
            f'Dir::Cache "{self.home}/cache";\n'
            'Acquire::Languages "none";\n'
            'APT::Sandbox::User "root";\n'
        )
        self.environment = {**os.environ, "APT_CONFIG": str(self.home / "apt.conf")}

    def run(self, *command, **options) -> str:
        return output(*command, env=self.environment, **options)

    def update(self):
        self.run("apt-get", "-qq", "update")

    def offers(self, package: str) -> bool:
        return re.search(r"Candidate: [^(]", self.run("apt-cache", "policy", package)) is not None

    def unpack(self, packages, into: pathlib.Path):
        """Downloads packages and unpacks them below `into`."""
        with tempfile.TemporaryDirectory(dir=cache()) as downloads:
            self.run("apt-get", "-qq", "download", *packages, cwd=downloads)
            for package in sorted(pathlib.Path(downloads).glob("*.deb")):
                output("dpkg", "-x", package, into)


def digest(*files: pathlib.Path) -> str:
    """Of what a thing in the cache is made by: this file and the ones given."""
    sha = hashlib.sha256(pathlib.Path(__file__).read_bytes())
    for file in files:
        sha.update(file.read_bytes())
    return sha.hexdigest()[:12]


def remove_others(place: pathlib.Path, pattern: str):
    """Removes what earlier versions of the recipe made."""
    for path in place.parent.glob(pattern):
        path.unlink()


def fresh(path: pathlib.Path) -> pathlib.Path:
    """An empty directory to make a thing in, beside its place."""
    making = path.with_name(path.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    return making


def qemu() -> list[str]:
    """The command that starts QEMU: version 10 of the backports, which emulates a half faster than Debian 12's."""
    install(TOOLS)
    place = cache() / "qemu"
    with alone("qemu"):
        if not place.exists():
            making = fresh(place)
            try:
                apt = Apt(["bookworm-backports"]) if debian() == "12" else None
                if apt:
                    say("fetching a newer QEMU")
                    apt.update()
                    apt.unpack(["qemu-system-x86", "qemu-system-data", "seabios"], making)
                    if "not found" in output("ldd", making / "usr/bin/qemu-system-x86_64"):
                        raise Missing("it needs libraries that are not installed")
            except Missing as error:
                say(f"a newer QEMU cannot be had, the installed one is used: {error}")
                making = fresh(place)
            making.rename(place)
    program = place / "usr/bin/qemu-system-x86_64"
    if program.exists():
        return [str(program), "-L", str(place / "usr/share/qemu"), "-L", str(place / "usr/share/seabios")]
    return [find_tool("qemu-system-x86_64")]


def debian() -> str:
    """The release of this machine's Debian; empty elsewhere."""
    text = pathlib.Path("/etc/os-release").read_text()
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return fields.get("VERSION_ID", "").strip('"') if fields.get("ID") == "debian" else ""


def virtiofsd() -> pathlib.Path:
    """The file server of the shares: the one in C, of Debian 12's QEMU 7.2, which later versions dropped."""
    place = cache() / "virtiofsd"
    with alone("virtiofsd"):
        if not place.exists():
            say("fetching virtiofsd")
            making = fresh(place)
            apt = Apt(["bookworm"])
            apt.update()
            apt.unpack(["qemu-system-common"], making)
            making.rename(place)
    return place / "usr/lib/qemu/virtiofsd"


class Kernel:
    """A kernel in the cache."""

    def __init__(self, place: pathlib.Path):
        self.place = place
        self.release = (place / "release").read_text().strip()
        self.image = next(path for path in [
            place / f"boot/vmlinuz-{self.release}",
            place / f"lib/modules/{self.release}/vmlinuz",
            place / f"usr/lib/modules/{self.release}/vmlinuz",
        ] if path.exists())


def kernel(name: str) -> Kernel:
    """A Debian cloud kernel by its name: a series, or `newest`."""
    with alone(f"kernel-{name}"):
        if name == "newest":
            name = newest()
        tried = SERIES.get(name, [name])
        for series in tried:
            place = cache() / "kernels" / series
            if (place / "release").exists():
                return Kernel(place)
        for series in tried:
            place = cache() / "kernels" / series
            if fetch_kernel(series, place):
                return Kernel(place)
    raise Missing(f"the mirror has no kernel of {' or '.join(tried)}")


def suites(series: str) -> list[str]:
    return SUITES.get(series, NEWER)


def fetch_kernel(series: str, place: pathlib.Path) -> bool:
    """Whether the mirror has it."""
    apt = Apt(suites(series))
    with alone("apt-" + apt.home.name):
        say(f"looking for a kernel of {series}")
        apt.update()
        for packages in candidates(apt, series):
            if all(apt.offers(package) for package in packages):
                break
        else:
            return False
        say(f"fetching {packages[0]}")
        making = fresh(place)
        apt.unpack(packages, making)
    if (making / "usr/lib/modules").is_dir() and not (making / "lib").exists():
        (making / "lib").symlink_to("usr/lib")
    (release,) = [path.name for path in (making / "lib/modules").iterdir()]
    output(find_tool("depmod"), "-b", making, release)
    (making / "release").write_text(release + "\n")
    shutil.rmtree(place, ignore_errors=True)
    making.rename(place)
    return True


def candidates(apt: Apt, series: str):
    """The packages of each kernel of a series, newest first. Since 7.0 they come in parts."""
    names = apt.run("apt-cache", "pkgnames", f"linux-image-{series}").split()
    pattern = re.compile(rf"linux-image-({re.escape(series)}(?:\.\d+)*[-+].*cloud-amd64)")
    versions = [found[1] for name in names if (found := pattern.fullmatch(name))]
    for version in sorted(versions, key=numbers, reverse=True):
        image = f"linux-image-{version}"
        depends = re.findall(r"^Depends:.*", apt.run("apt-cache", "show", image), re.M)
        parts = ["binary", "modules", "base"] if any("linux-binary-" in line for line in depends) else []
        yield [image, *(f"linux-{part}-{version}" for part in parts)]


def newest() -> str:
    """The newest series that the mirror has whole."""
    known = cache() / "newest"
    if known.exists() and time.time() - known.stat().st_mtime < NEWEST_FOR:
        return known.read_text().strip()
    apt = Apt(NEWER)
    with alone("apt-" + apt.home.name):
        apt.update()
        names = apt.run("apt-cache", "pkgnames", "linux-image-").split()
        pattern = re.compile(r"linux-image-(\d+\.\d+)(?:\.\d+)*[-+].*cloud-amd64")
        found = {match[1] for name in names if (match := pattern.fullmatch(name))}
        for series in sorted(found, key=numbers, reverse=True):
            if any(all(map(apt.offers, packages)) for packages in candidates(apt, series)):
                known.write_text(series + "\n")
                return series
    raise Missing("the mirror has no kernel in its newer suites")


def numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def initrd(of: Kernel) -> pathlib.Path:
    """The initial file system: busybox, the modules that the guest needs, and its init."""
    place = cache() / "initrd" / f"{of.release}-{digest(GUEST / 'init')}.cpio"
    with alone(f"initrd-{of.release}"):
        if place.exists():
            return place
        place.parent.mkdir(exist_ok=True)
        remove_others(place, f"{of.release}-*.cpio")
        with tempfile.TemporaryDirectory() as temporary:
            root = pathlib.Path(temporary)
            for part in ["bin", "dev", "proc", "sys", "newroot", "modules", "vm"]:
                (root / part).mkdir()
            shutil.copy(find_tool("busybox"), root / "bin/busybox")
            shutil.copy(GUEST / "init", root / "init")
            (root / "init").chmod(0o755)
            order = [unpack_module(path, root / "modules") for path in module_files(of)]
            (root / "modules/order").write_text("\n".join(order) + "\n")
            pack(root, place)
    return place


def module_files(of: Kernel) -> list[pathlib.Path]:
    """The files of MODULES and of what they need, in the order of loading."""
    files = []
    for name in MODULES:
        command = ["modprobe", "-d", of.place, "-S", of.release, "--show-depends", name]
        command[0] = find_tool("modprobe")
        # One that is built in, or that this kernel does not have, has no file.
        shown = subprocess.run([str(word) for word in command], capture_output=True, text=True).stdout
        files += [pathlib.Path(line.split()[1]) for line in shown.splitlines() if line.startswith("insmod ")]
    return list(dict.fromkeys(files))


def unpack_module(path: pathlib.Path, into: pathlib.Path) -> str:
    """Unpacks a module, since busybox cannot load compressed ones, and gives its name."""
    tools = {".xz": ["xz", "-dc"], ".zst": ["zstd", "-qdc"]}
    name = path.name.removesuffix(path.suffix) if path.suffix in tools else path.name
    with open(into / name, "wb") as file:
        subprocess.run([*tools.get(path.suffix, ["cat"]), str(path)], stdout=file, check=True)
    return name


def pack(root: pathlib.Path, into: pathlib.Path):
    """A directory as a cpio archive, everything in it root's."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    archive = subprocess.run(
        ["cpio", "--null", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
        input="".join(f"{name}\0" for name in names).encode(), cwd=root, stdout=subprocess.PIPE, check=True,
    ).stdout
    making = into.with_suffix(".making")
    making.write_bytes(archive)
    making.rename(into)


def image() -> pathlib.Path:
    """A Debian 12 with systemd and a user session, read-only; the guest lays a tmpfs over it."""
    place = cache() / f"debian-{digest(GUEST / 'vm.service', GUEST / 'vm.target', pathlib.Path(__file__))}.erofs"
    with alone("image"):
        if place.exists():
            return place
        remove_others(place, "debian-*.erofs")
        install(IMAGE_TOOLS)
        say("making the systemd image")
        making = place.with_suffix(".making")
        with tempfile.TemporaryDirectory(dir=cache()) as temporary:
            root = pathlib.Path(temporary) / "root"
            include = (
                "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,login,passwd,procps,util-linux,"
                "python3"
            )
            units = (
                "systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer "
                "e2scrub_all.timer fstrim.timer getty@tty1.service serial-getty@ttyS0.service "
                "systemd-networkd.service systemd-resolved.service systemd-journal-flush.service "
                "systemd-update-utmp.service systemd-udev-trigger.service systemd-udevd.service "
                "systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-random-seed.service "
                "systemd-pstore.service modprobe@.service systemd-hwdb-update.service systemd-binfmt.service"
            )
            output(
                "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", f"--include={include}",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                f'--customize-hook=chroot "$1" groupadd -g {UID} vmuser',
                f'--customize-hook=chroot "$1" useradd -m -u {UID} -g {UID} -s /bin/bash vmuser',
                # Its manager starts with the machine, nobody has to log in.
                '--customize-hook=mkdir -p "$1/var/lib/systemd/linger"; : >"$1/var/lib/systemd/linger/vmuser"',
                f'--customize-hook=for unit in {units}; do ln -sf /dev/null "$1/etc/systemd/system/$unit"; done',
                '--customize-hook=echo vm >"$1/etc/hostname"; : >"$1/etc/machine-id"',
                '--customize-hook=rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*',
                "bookworm", root, f"{mirror()[0]}",
            )
            for unit in ["vm.service", "vm.target"]:
                shutil.copy(GUEST / unit, root / "etc/systemd/system" / unit)
            output(find_tool("mkfs.erofs"), "--quiet", "-zlz4", making, root)
        making.rename(place)
    return place
