//! What a layer tries.

use super::tar::{Header, Tar};
use super::{Random, program};

type Trick = fn(&mut Random, &mut Tar, &str);

/// Tricks that leave an archive whole.
const ODD: &[(&str, Trick)] = &[
    ("names that leave", leaving),
    ("a link, then a file through it", through_a_link),
    ("a chain of links", chain),
    ("hard links outside", hard_links),
    ("devices and unknown kinds", kinds),
    ("whiteouts", whiteouts),
    ("attributes", attributes),
    ("a deep tree", deep),
    ("many entries", many),
    ("kinds that change", replaced),
    ("links at mount points", mount_points),
    ("passwd and group", users),
    ("modes, owners, times", numbers),
    ("names", names),
    ("PAX paths", pax_paths),
];

/// Tricks after which an archive is hardly one.
const BROKEN: &[(&str, Trick)] = &[
    ("sizes", sizes),
    ("GNU long names", long_names),
    ("PAX lengths", pax_lengths),
    ("a sparse file", sparse),
];

/// Makes a layer that runs, with tricks; where `may_break`, some are no archives at all.
pub(super) fn layer(random: &mut Random, aim: &str, may_break: bool) -> (String, Vec<u8>) {
    let mut tar = Tar::default();
    let mut what = Vec::new();
    let is_first = random.below(2) == 0;
    if is_first {
        base(&mut tar);
    }
    for _ in 0..=random.below(2) {
        let (name, trick) = ODD[random.below(ODD.len())];
        trick(random, &mut tar, aim);
        what.push(name);
    }
    let is_broken = may_break && random.below(5) == 0;
    if is_broken && random.below(2) == 0 {
        let (name, trick) = BROKEN[random.below(BROKEN.len())];
        trick(random, &mut tar, aim);
        what.push(name);
    }
    if !is_first {
        base(&mut tar);
    }
    let mut body = tar.finish();
    if is_broken {
        what.push(spoil(random, &mut body));
    }
    (what.join(", "), body)
}

fn base(tar: &mut Tar) {
    tar.folder("bin/");
    tar.folder("etc/");
    tar.file("bin/true", &program());
    tar.file("etc/passwd", b"root:x:0:0::/:/bin/true\n");
}

/// Spoils a whole archive, or leaves it.
fn spoil(random: &mut Random, body: &mut Vec<u8>) -> &'static str {
    match random.below(8) {
        0 => {
            body.truncate(random.below(body.len()));
            "cut"
        }
        1 => {
            for _ in 0..random.below(30) {
                let at = random.below(body.len());
                body[at] = random.next() as u8;
            }
            "noise"
        }
        2 => {
            let magic: &[u8] = random.of(&[
                b"\x1f\x8b\x08\0".as_slice(),
                b"BZh9",
                b"\xfd7zXZ\0",
                b"\x28\xb5\x2f\xfd",
                b"{",
                b"PK\x03\x04",
            ]);
            *body = [magic, &random.bytes(600)].concat();
            "no archive behind a magic number"
        }
        3 => {
            *body = random.bytes(2000);
            "no archive"
        }
        4 => {
            body.clear();
            "nothing"
        }
        _ => "whole",
    }
}

fn up(random: &mut Random) -> String {
    "../".repeat(1 + random.below(12))
}

fn leaving(random: &mut Random, tar: &mut Tar, aim: &str) {
    let up = up(random);
    let inner = &aim[1..];
    for name in [
        format!("{up}{inner}/new"),
        format!("{aim}/new"),
        format!("//{inner}//one"),
        format!("etc/../{up}{inner}/one"),
        format!("./.././{up}{inner}/folder/"),
        format!("etc/{up}"),
    ] {
        let kind = if name.ends_with('/') { b'5' } else { b'0' };
        if name.starts_with('/') || random.below(10) == 0 {
            tar.put(kind, name.as_bytes(), b"", b"written");
        }
    }
}

fn through_a_link(random: &mut Random, tar: &mut Tar, aim: &str) {
    let target = match random.below(3) {
        0 => aim.to_owned(),
        1 => format!("{}{}", "../".repeat(12), &aim[1..]),
        _ => "/".to_owned(),
    };
    tar.link("out", &target);
    tar.file("out/new", b"written");
    tar.file("out/one", b"written");
    tar.folder("out/folder/");
    if random.below(8) == 0 {
        tar.put(b'1', b"out/hard", b"bin/true", b"");
    }
    tar.link("out/link", "/etc");
    tar.put(b'0', b"out/.wh.one", b"", b"");
    tar.put(b'0', b"out/.wh..wh..opq", b"", b"");
    tar.link("one", &format!("{aim}/one"));
    tar.file("one", b"written");
}

fn chain(random: &mut Random, tar: &mut Tar, aim: &str) {
    tar.link("a", "..");
    for step in b'b'..=b'f' {
        tar.link(&char::from(step).to_string(), &format!("{}/..", char::from(step - 1)));
    }
    let last = random.of(&["a", "c", "f"]);
    tar.file(&format!("{last}/{}/one", &aim[1..]), b"written");
    tar.link("loop", "loop");
    tar.link("ping", "pong/x");
    tar.link("pong", "ping/x");
    if random.below(6) == 0 {
        tar.file("loop/x", b"x");
        tar.folder("ping/deeper/");
    }
}

fn hard_links(random: &mut Random, tar: &mut Tar, aim: &str) {
    let outside = match random.below(3) {
        0 => format!("{aim}/one"),
        1 => format!("{}{}/one", "../".repeat(12), &aim[1..]),
        _ => "link-to-one".to_owned(),
    };
    tar.link("link-to-one", &format!("{aim}/one"));
    // A link whose aim is not there may end it all: not in every image.
    if random.below(3) == 0 {
        tar.put(b'1', b"hard", outside.as_bytes(), b"");
        tar.file("hard", b"written");
    }
    tar.put(b'1', b"hard-to-link", b"link-to-one", b"");
    tar.file("hard-to-link", b"written");
    tar.put(b'1', b"self", b"link-to-one", b"content of a hard link");
}

fn kinds(random: &mut Random, tar: &mut Tar, _: &str) {
    for (kind, device) in
        [(b'b', (8, 0)), (b'4', (8, 0)), (b'3', (1, 1)), (b'3', (5, 1)), (b'4', (259, 0)), (b'6', (0, 0))]
    {
        if random.below(2) == 0 {
            let name = format!("node{}-{}", char::from(kind), device.0);
            tar.odd(kind, name.as_bytes(), b"", b"", Header { device, ..Header::default() });
        }
    }
    // An overlay's whiteout, made by hand.
    if random.below(6) == 0 {
        tar.odd(b'3', b"etc/hosts", b"", b"", Header { device: (0, 0), ..Header::default() });
    }
    if random.below(4) == 0 {
        let kind = *random.of(&[&b'7', &b'V', &b'M', &b'D', &b'Z', &0, &0xff]);
        tar.odd(kind, b"odd-kind", b"", b"x", Header::default());
    }
}

fn whiteouts(random: &mut Random, tar: &mut Tar, _: &str) {
    for name in [
        ".wh.x",
        "etc/.wh..wh..opq",
        ".wh..wh..opq",
        ".wh..wh.plnk/1",
        ".wh..wh.aufs",
        "etc/.wh.passwd/x",
        "nowhere/at/all/.wh.x",
        "nowhere/.wh..wh..opq",
        "etc/.wh..wh..wh.x",
    ] {
        if random.below(2) == 0 {
            tar.file(name, b"");
        }
    }
    if random.below(4) == 0 {
        tar.file(random.of(&[".wh.", ".wh..", "etc/.wh...", ".wh.../x", "etc/.wh./"]), b"");
    }
}

fn attributes(random: &mut Random, tar: &mut Tar, aim: &str) {
    for (key, value) in [
        ("trusted.overlay.redirect", format!("/../..{aim}").into_bytes()),
        ("trusted.overlay.opaque", b"y".to_vec()),
        ("trusted.overlay.metacopy", Vec::new()),
        ("trusted.overlay.origin", random.bytes(20)),
        ("user.overlay.whiteout", b"y".to_vec()),
        ("security.capability", [b"\x01\0\0\x02".as_slice(), &random.bytes(16)].concat()),
        ("security.selinux", b"x".to_vec()),
        ("system.posix_acl_access", random.bytes(28)),
        ("user.x", vec![b'x'; 3000]),
        ("", b"x".to_vec()),
        ("nonsense", b"x".to_vec()),
    ] {
        if random.below(4) == 0 {
            tar.pax(&format!("SCHILY.xattr.{key}"), &value);
            if random.below(2) == 0 {
                tar.folder("folder/");
            } else {
                tar.file("file", b"x");
            }
        }
    }
}

fn deep(random: &mut Random, tar: &mut Tar, _: &str) {
    let step = random.of(&["d/", "deeper/", "./d/", "d/../e/"]);
    let name = step.repeat(20 + random.below(300));
    tar.put(b'5', name.as_bytes(), b"", b"");
    tar.put(b'2', format!("{name}link").as_bytes(), "../".repeat(700).as_bytes(), b"");
}

fn many(random: &mut Random, tar: &mut Tar, _: &str) {
    for number in 0..random.below(400) {
        tar.put(*random.of(&[&b'0', &b'5', &b'2']), format!("many/{number}").as_bytes(), b"x", b"");
    }
}

fn replaced(random: &mut Random, tar: &mut Tar, aim: &str) {
    for _ in 0..10 {
        let name = random.of(&["r", "r", "s", "t"]);
        match random.below(4) {
            0 => tar.folder(&format!("{name}/")),
            1 => tar.link(name, aim),
            2 => tar.file(name, b"written"),
            3 if random.below(8) == 0 => tar.file(&format!("{name}/one"), b"written"),
            _ => tar.put(b'6', name.as_bytes(), b"", b""),
        }
    }
}

fn mount_points(random: &mut Random, tar: &mut Tar, aim: &str) {
    let one = format!("{aim}/one");
    for (name, target) in [
        ("proc", "/etc"),
        ("proc", aim),
        ("sys", aim),
        ("dev", "/proc/self/fd"),
        ("dev", aim),
        ("etc/hosts", &one),
        ("etc/hostname", "/proc/self/exe"),
        ("etc/resolv.conf", "/dev/zero"),
        ("etc/mtab", &one),
        ("tmp", aim),
    ] {
        if random.below(6) == 0 {
            tar.link(name, target);
        }
    }
    if random.below(3) == 0 {
        tar.file(random.of(&["proc", "sys", "dev", "dev/null", "dev/pts", "dev/shm"]), b"a file");
    }
}

fn users(random: &mut Random, tar: &mut Tar, aim: &str) {
    for name in ["etc/passwd", "etc/group"] {
        match random.below(7) {
            0 => tar.file(name, &vec![b'x'; 300_000]),
            1 => tar.file(name, &random.bytes(5000)),
            2 => tar.link(
                name,
                random.of(&["/dev/zero", "/dev/console", "/proc/self/mem", "passwd", "/proc/kmsg"]),
            ),
            3 => tar.put(b'6', name.as_bytes(), b"", b""),
            4 => tar.folder(name),
            5 => tar.link(name, &format!("{aim}/one")),
            _ => tar.file(
                name,
                b"root:x:-1:99999999999:\0:::::\n:::\nroot\n+::\nroot:x:0x0:0:a:b\n\xff\xfe:x:1:1::/:\n",
            ),
        }
    }
}

fn numbers(random: &mut Random, tar: &mut Tar, _: &str) {
    let far = [&[0x80, 0, 0, 0][..], &random.bytes(8)].concat();
    let texts: [&[u8]; 7] =
        [b"7777777", b"0006777", b"-000001", b"       ", b"abc", b"\xff\xff\xff\xff\xff\xff\xff\xff", &far];
    // One in four: most engines refuse these.
    let wild = random.below(4) == 0;
    for number in 0..4 {
        let mut pick = || if wild { texts[random.below(texts.len())] } else { texts[random.below(2)] };
        let header = Header { mode: pick(), owner: pick(), time: pick(), ..Header::default() };
        tar.odd(b'0', format!("numbers{number}").as_bytes(), b"", b"x", header);
    }
    for time in ["-1", "99999999999999999999", "1e9", "0.9999999999999999", "-9223372036854775808"] {
        if random.below(8) == 0 {
            tar.pax("mtime", time.as_bytes());
            tar.file("time", b"x");
        }
    }
}

fn names(random: &mut Random, tar: &mut Tar, _: &str) {
    let long = "n".repeat(255);
    for name in
        [b"a\nb".as_slice(), b"\xff\xfe", b"back\\slash", b"./", b"/", long.as_bytes(), b" ", b"\x1b[31m"]
    {
        if random.below(2) == 0 {
            tar.put(if name.ends_with(b"/") { b'5' } else { b'0' }, name, b"", b"");
        }
    }
    if random.below(6) == 0 {
        let longer = "n".repeat(256 + random.below(5000));
        tar.put(b'0', random.of(&[b"..".as_slice(), b".", b"", b"../..", longer.as_bytes()]), b"", b"x");
    }
}

fn pax_paths(random: &mut Random, tar: &mut Tar, aim: &str) {
    let values =
        [format!("{aim}/one"), format!("../../../../../../..{aim}/new"), "a/../../b".into(), "pax".into()];
    for _ in 0..3 {
        // Names that leave are refused: not in every image.
        let value = &values[if random.below(6) == 0 { 1 + random.below(3) } else { 0 }];
        tar.pax(random.of(&["path", "GNU.sparse.name"]), value.as_bytes());
        tar.file("pax-file", b"written");
        tar.pax("linkpath", value.as_bytes());
        tar.link("pax-link", "x");
        if random.below(6) == 0 {
            tar.file("pax-link/one", b"written");
        }
    }
    tar.odd(b'g', b"global", b"", b"21 path=/everywhere\n\n", Header::default());
}

fn sizes(random: &mut Random, tar: &mut Tar, _: &str) {
    let size: &[u8] = random.of(&[
        b"77777777777".as_slice(),
        b"-0000000001",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"99999999999",
        b"00000000 12",
    ]);
    let kind = *random.of(&[&b'0', &b'5', &b'2', &b'1', &b'L', &b'x', &b'K', &b'g']);
    tar.odd(kind, b"sized", b"x", b"x", Header { size: Some(size), ..Header::default() });
    if random.below(2) == 0 {
        tar.pax("size", random.of(&[b"-1".as_slice(), b"99999999999999999999", b"1000000000000", b"x"]));
        tar.file("pax-sized", b"x");
    }
}

fn long_names(random: &mut Random, tar: &mut Tar, _: &str) {
    let kind = *random.of(&[&b'L', &b'K']);
    match random.below(4) {
        0 => tar.odd(
            kind,
            b"././@LongLink",
            b"",
            &[],
            Header { size: Some(b"00200000000"), ..Header::default() },
        ),
        1 => (0..50).for_each(|_| tar.odd(kind, b"././@LongLink", b"", b"name", Header::default())),
        2 => tar.odd(kind, b"././@LongLink", b"", &vec![b'n'; 3 << 20], Header::default()),
        _ => tar.odd(kind, b"././@LongLink", b"", b"", Header { is_sound: false, ..Header::default() }),
    }
}

fn pax_lengths(random: &mut Random, tar: &mut Tar, _: &str) {
    let record: &[u8] = random.of(&[
        b"999 path=x\n".as_slice(),
        b"5 path=x\n",
        b"-3 a=b\n",
        b"0 a=b\n",
        b"99999999999999999999999 a=b\n",
        b"6 abc\n",
        b"7 path=",
        b"path=x\n",
        b"",
        b"\xff\xff\xff",
        b"16 SCHILY.xattr=\n",
    ]);
    tar.odd(b'x', b"PaxHeaders/0", b"", record, Header::default());
    tar.file("after", b"x");
    if random.below(3) == 0 {
        tar.odd(b'x', b"PaxHeaders/0", b"", &vec![b'9'; 3 << 20], Header::default());
    }
}

fn sparse(random: &mut Random, tar: &mut Tar, _: &str) {
    tar.odd(b'S', b"sparse", b"", &random.bytes(512), Header::default());
    for (key, value) in
        [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "99999999999999")]
    {
        tar.pax(key, value.as_bytes());
    }
    tar.file("sparse-pax", b"9999999999\n0\n1\n");
}
