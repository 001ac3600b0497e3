//! Containers in an AppArmor profile. For the virtual machine, whose kernel has AppArmor and nothing else that is put into profiles;
//! elsewhere the profile would be the whole host's, and what an engine does without AppArmor is tested.

use minke_e2e::{Client, Rig};

/// An engine that may use what the machine has.
fn free(body: impl Fn(&Rig)) {
    Rig::run_inside(Client::Minke, &["env", "-u", "container"], &[], body);
}

fn in_the_machine() -> bool {
    std::env::var_os("MINKE_VM").is_some()
}

#[test]
fn containers_run_in_dockers_profile_unless_they_say_otherwise() {
    if !in_the_machine() {
        // An engine in a container leaves the host's profiles alone, and says nothing of them.
        return Rig::run_inside(Client::Minke, &["env", "container=e2e"], &[], |rig| {
            assert!(!rig.get("/info").json()["SecurityOptions"].to_string().contains("apparmor"));
            assert_eq!(rig.cli("run --security-opt apparmor=no-such --name one busybox true").code, 0);
            assert_eq!(rig.inspect("one")["AppArmorProfile"], "");
        });
    }
    free(|rig| {
        assert!(rig.get("/info").json()["SecurityOptions"].to_string().contains("name=apparmor"));
        let own = "cat /proc/self/attr/current";
        rig.ok("run -d --name one busybox sleep 1000");
        assert_eq!(rig.inspect("one")["AppArmorProfile"], "docker-default");
        assert_eq!(rig.ok("exec one cat /proc/1/attr/current"), "docker-default (enforce)");
        assert_eq!(rig.ok(&format!("exec one {own}")), "docker-default (enforce)");
        assert_eq!(rig.ok(&format!("exec --privileged one {own}")), "docker-default (enforce)");
        // What capabilities and the filter would allow.
        let mount = "busybox mount -t tmpfs none /tmp";
        rig.fails(&format!("run --rm --cap-add SYS_ADMIN {mount}"), 255, "Permission denied");
        rig.ok(&format!("run --rm --cap-add SYS_ADMIN --security-opt apparmor=unconfined {mount}"));
        assert_eq!(rig.ok(&format!("run --rm --privileged busybox {own}")), "unconfined");
        rig.ok("run --name free --security-opt apparmor=unconfined busybox true");
        assert_eq!(rig.inspect("free")["AppArmorProfile"], "unconfined");
        let missing = "unable to apply apparmor profile: apparmor failed to apply profile: write /proc/thread-self/attr/apparmor/exec: no such file or directory";
        rig.fails("run --rm --security-opt apparmor=no-such busybox true", 127, missing);
        // Somebody has unloaded it.
        std::fs::write("/sys/kernel/security/apparmor/.remove", "docker-default").expect("it can be removed");
        assert_eq!(rig.ok(&format!("run --rm busybox {own}")), "docker-default (enforce)");
    });
}
