use super::*;

fn mount_error(text: &str) -> String {
    parse_mount_flag(text).unwrap_err().message().to_string()
}

#[test]
fn a_bind_mount_is_read_with_its_options() {
    let mount =
        parse_mount_flag("TYPE=bind,src=/a,dst=/b,ro,bind-propagation=rslave,bind-recursive=disabled")
            .unwrap();
    assert_eq!(mount.kind, MountKind::Bind);
    assert_eq!((mount.source.as_str(), mount.target.as_str(), mount.read_only), ("/a", "/b", true));
    let bind = mount.bind.unwrap();
    assert_eq!(bind.propagation, "rslave");
    assert!(bind.non_recursive);
}

#[test]
fn a_volume_is_the_default_type_and_keeps_labels_and_driver_options() {
    let mount = parse_mount_flag("src=v,dst=/b,volume-label=a=b,volume-driver=local,volume-opt=o=addr=1,\"volume-opt=x=1,2\",volume-nocopy").unwrap();
    assert_eq!(mount.kind, MountKind::Volume);
    let volume = mount.volume.unwrap();
    assert_eq!(volume.labels, [("a".to_string(), "b".to_string())]);
    assert_eq!(
        volume.driver_options,
        [("o".to_string(), "addr=1".to_string()), ("x".to_string(), "1,2".to_string())]
    );
    assert!(volume.no_copy);
}

#[test]
fn a_tmpfs_takes_size_and_octal_mode() {
    let mount = parse_mount_flag("type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
    assert_eq!(mount.tmpfs.unwrap(), TmpfsOptions { size_bytes: 1 << 20, mode: 0o1770 });
}

#[test]
fn a_bad_mount_flag_is_refused_in_dockers_words() {
    let cases = [
        ("", "EOF"),
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("foo=bar", "unexpected key 'foo' in 'foo=bar'"),
        ("type=bind, src=/tmp", "unexpected key ' src' in ' src=/tmp'"),
        ("type=bind", "target is required"),
        ("type=tmpfs,target=/x,tmpfs-size=z", "invalid value for tmpfs-size: z"),
        ("type=tmpfs,target=/x,tmpfs-mode=z", "invalid value for tmpfs-mode: z"),
        ("target=/x,readonly=z", "invalid value for readonly: z"),
        ("type=bind,volume-nocopy,target=/x", "cannot mix 'volume-*' options with mount type 'bind'"),
        (
            "type=volume,bind-propagation=shared,target=/x",
            "cannot mix 'bind-*' options with mount type 'volume'",
        ),
        ("type=volume,tmpfs-size=1,target=/x", "cannot mix 'tmpfs-*' options with mount type 'volume'"),
        ("image-subpath=x,target=/x", "cannot mix 'image-*' options with mount type 'volume'"),
        (
            "type=bind,dst=/x,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction",
        ),
        (
            "type=bind,dst=/x,bind-recursive=writable",
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
        ),
        (
            "type=bind,dst=/x,ro,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
        ),
        (
            "type=bind,dst=/x,bind-recursive=foo",
            "invalid value for bind-recursive: foo (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
        ),
        ("type=bind,src=/tmp,dst=\"/x", "parse error on line 1, column 24: bare \" in non-quoted-field"),
    ];
    for (text, message) in cases {
        assert_eq!(mount_error(text), message, "{text}");
    }
}

#[test]
fn a_volume_flag_is_sent_on_as_it_stands_but_for_a_leading_dot() {
    let parse = |text| parse_volume_flag(text, "/home/me");
    assert_eq!(parse("/a:/b:ro").unwrap(), VolumeFlag::Bind("/a:/b:ro".into()));
    assert_eq!(parse("name:/b").unwrap(), VolumeFlag::Bind("name:/b".into()));
    assert_eq!(parse("./x/../y:/b").unwrap(), VolumeFlag::Bind("/home/me/y:/b".into()));
    assert_eq!(parse(".:/b").unwrap(), VolumeFlag::Bind("/home/me:/b".into()));
    assert_eq!(parse("/data").unwrap(), VolumeFlag::Anonymous("/data".into()));
    assert_eq!(parse("").unwrap_err().message(), "invalid empty volume spec");
    assert_eq!(parse(":/a").unwrap_err().message(), "invalid spec: :/a: empty section between colons");
}

#[test]
fn an_engine_reads_binds_and_volumes() {
    let bind = parse_bind("/a:/b:ro,Z,rslave").unwrap();
    assert_eq!(
        (bind.kind, bind.read_only, bind.relabel, bind.propagation.as_deref()),
        (MountKind::Bind, true, Some('Z'), Some("rslave"))
    );
    let volume = parse_bind("data:/b:nocopy").unwrap();
    assert_eq!((volume.kind, volume.no_copy), (MountKind::Volume, true));
}

#[test]
fn a_bad_bind_is_refused_in_the_engines_words() {
    let cases = [
        ("a:b:c:d", "invalid volume specification: 'a:b:c:d'"),
        ("/a:rw", "invalid volume specification: '/a:rw'"),
        ("/tmp:/a:zz", "invalid mode: zz"),
        ("/tmp:/a:ro,rw", "invalid mode: ro,rw"),
        (
            "/a:/",
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
        ),
        (
            "/a:/b:nocopy",
            "invalid volume specification: '/a:/b:nocopy': invalid mount config for type \"bind\": field VolumeOptions must not be specified",
        ),
        (
            "a:/b:shared",
            "invalid volume specification: 'a:/b:shared': invalid mount config for type \"volume\": field BindOptions must not be specified",
        ),
        (
            "a:b",
            "invalid volume specification: 'a:b': invalid mount config for type \"volume\": invalid mount path: 'b' mount path must be absolute",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(parse_bind(text).unwrap_err().message(), message);
    }
}

#[test]
fn volumes_are_taken_from_a_container() {
    let from = |text: &str| parse_volumes_from(text).map(|from| (from.container, from.read_only));
    assert_eq!(from("web").unwrap(), ("web".into(), false));
    assert_eq!(from("web:ro,z").unwrap(), ("web".into(), true));
    assert_eq!(from("web:rw").unwrap(), ("web".into(), false));
    for mode in ["odd", "nocopy", "rshared"] {
        let text = format!("web:{mode}");
        assert_eq!(from(&text).unwrap_err().message(), format!("invalid mode: {mode}"));
    }
    assert!(from("").is_err());
}

#[test]
fn csv_fields_may_be_quoted() {
    assert_eq!(split_csv("a,\"b,\"\"c\",d").unwrap(), ["a", "b,\"c", "d"]);
    assert_eq!(split_csv("a,").unwrap(), ["a", ""]);
    assert!(split_csv("\"a\"b").is_err());
    assert!(split_csv("\"a").is_err());
}
