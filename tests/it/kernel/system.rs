//! Pins, attachments, listing and probes.

use std::path::Path;
use std::time::Duration;

use beelift::isa::Slot;
use beelift::kernel::{
    AttachPoint, Errno, Hint, KernelMap, KernelProgram, LogLevel, RawProgram, list, probe, unpin,
};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::map::MapKind;

use super::{PASS, attach_type, hash, kernel_test, scratch, skip};

kernel_test! {
    fn pins_outlive_handles() {
        let map = hash("pinned");
        let path = scratch("map");
        map.update(&[1; 4], &[2; 8], 0).unwrap();
        map.pin(&path).unwrap();
        assert_eq!(map.pin(&path).unwrap_err().hint, Hint::Exists);
        drop(map);
        let again = KernelMap::open_pinned(&path).unwrap();
        assert_eq!(again.lookup(&[1; 4]).unwrap(), Some(vec![2; 8]));
        assert!(KernelProgram::open_pinned(&path).is_err());
        unpin(&path).unwrap();
        assert_eq!(unpin(&path).unwrap_err().errno, Errno::ENOENT);
        assert_eq!(KernelMap::open_pinned(&path).unwrap_err().errno, Errno::ENOENT);

        let loaded = KernelProgram::load_raw(&RawProgram::new(ProgramType::Xdp, &PASS), LogLevel::Silent).unwrap();
        let path = scratch("dir").join("prog");
        loaded.pin(&path).unwrap();
        let id = loaded.info().unwrap().id;
        assert_eq!(KernelProgram::open_pinned(&path).unwrap().info().unwrap().id, id);
        unpin(&path).unwrap();
        std::fs::remove_dir(path.parent().unwrap()).unwrap();
        let outside = loaded.pin(&std::env::temp_dir().join("beelift-no-bpffs")).unwrap_err();
        assert_eq!(outside.hint, Hint::NotBpffs);
        assert_eq!(unpin(&std::env::temp_dir()).unwrap_err().hint, Hint::NotBpffs);
    }

    fn a_dropped_link_detaches() {
        let loaded = KernelProgram::load_raw(&RawProgram::new(ProgramType::SchedCls, &[Slot::new(0xb7, 0, 0, 0, -1), PASS[1]]), LogLevel::Silent).unwrap();
        let point: AttachPoint = "tcx:lo:egress".parse().unwrap();
        let link = match loaded.attach(&point) {
            Ok(link) => link,
            Err(error) => return skip("a_dropped_link_detaches", &error),
        };
        let info = link.info().unwrap();
        assert_eq!(info.program_id, loaded.info().unwrap().id);
        assert!(list::links().unwrap().iter().any(|other| other.id == info.id));
        drop(link);
        let gone = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            list::links().unwrap().iter().all(|other| other.id != info.id)
        });
        assert!(gone);
        let nowhere = loaded.attach(&"tcx:nosuchif0:ingress".parse().unwrap()).unwrap_err();
        assert!(matches!(nowhere.hint, Hint::TargetMissing(_)), "{nowhere}");
        let wrong = loaded.attach(&"xdp:lo".parse().unwrap()).unwrap_err();
        assert_eq!(wrong.errno, Errno::EINVAL);
    }

    fn programs_attach_where_their_types_go() {
        let attach = |prog_type, result: i32, point: &str| {
            let slots = [Slot::new(0xb7, 0, 0, 0, result), PASS[1]];
            let raw = RawProgram { attach_type: attach_type(prog_type), ..RawProgram::new(prog_type, &slots) };
            let loaded = KernelProgram::load_raw(&raw, LogLevel::Silent).unwrap();
            match loaded.attach(&point.parse().unwrap()) {
                Ok(link) => {
                    assert_eq!(link.info().unwrap().program_id, loaded.info().unwrap().id);
                    // Detached at once, whoever else holds it.
                    if !point.starts_with("raw_tp") {
                        link.detach().unwrap();
                    }
                }
                Err(error) => skip(point, &error),
            }
        };
        // All of these let everything pass.
        attach(ProgramType::Xdp, 2, "xdp:lo:generic");
        attach(ProgramType::SchedCls, -1, "tcx:lo:ingress");
        attach(ProgramType::SkLookup, 1, "netns");
        attach(ProgramType::Netfilter, 1, "netfilter:ipv4:1");
        attach(ProgramType::RawTracepoint, 0, "raw_tp:sched_process_exit");
        let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        if let Some(root) = unified.iter().find(|root| Path::new(root).join("cgroup.procs").exists()) {
            attach(ProgramType::CgroupSkb, 1, &format!("cgroup:{root}"));
            attach(ProgramType::SockOps, 1, &format!("cgroup:{root}"));
        }
    }

    fn objects_are_listed_by_id() {
        let map = hash("listed");
        let loaded = KernelProgram::load_raw(&RawProgram::new(ProgramType::Xdp, &PASS), LogLevel::Silent).unwrap();
        let maps = match list::maps() {
            Ok(maps) => maps,
            Err(error) => return skip("objects_are_listed_by_id", &error),
        };
        assert!(maps.contains(map.info()));
        let id = loaded.info().unwrap().id;
        assert!(list::programs().unwrap().iter().any(|info| info.id == id));
        assert_eq!(KernelMap::open_id(map.info().id).unwrap().info(), map.info());
        assert_eq!(KernelProgram::open_id(id).unwrap().prog_type(), ProgramType::Xdp);
        assert_eq!(KernelMap::open_id(u32::MAX).unwrap_err().errno, Errno::ENOENT);
    }

    fn the_probe_finds_what_the_kernel_has() {
        let features = probe::Features::probe();
        assert!(features.has_bpf);
        let program = |kind| features.program_types.iter().find(|(other, _)| *other == kind).map(|it| it.1);
        let map = |kind| features.map_types.iter().find(|(other, _)| *other == kind).map(|it| it.1);
        for kind in [ProgramType::Xdp, ProgramType::SchedCls, ProgramType::SocketFilter] {
            assert_eq!(program(kind), Some(probe::Support::Yes), "{kind}");
        }
        for kind in [MapKind::Array, MapKind::LpmTrie, MapKind::Ringbuf, MapKind::HashOfMaps, MapKind::TaskStorage] {
            assert_eq!(map(kind), Some(probe::Support::Yes), "{kind}");
        }
        let probe::Helpers::Allowed(helpers) = probe::helpers(ProgramType::Xdp) else { panic!("no helpers") };
        assert!(helpers.contains(&44) && helpers.contains(&1), "xdp_adjust_head, map_lookup_elem");
        assert!(!helpers.contains(&26), "skb_load_bytes is not for xdp");
        assert!(helpers.iter().all(|&number| number < 300), "{helpers:?}");
        assert_eq!(probe::helpers(ProgramType::StructOps), probe::Helpers::Unknown);
        assert!(matches!(probe::helpers(ProgramType::Syscall), probe::Helpers::Allowed(_)));
    }
}
