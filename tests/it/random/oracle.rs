//! The kernel's verdict on a program, and its runs.

use beelift::kernel::{
    KernelBtf, KernelMap, KernelProgram, KernelSymbols, LoadOptions, MapSetOptions, OsError, RingBuffer,
    TestInput, TestRun, create_maps, oracle,
};
use beelift::runtime::{MapDef, MapKind};
use beelift::{Context, FixedEnvironment, Program};

/// What all programs share there.
#[derive(Default)]
pub(super) struct Kernel {
    symbols: KernelSymbols,
    /// Types of the programs that have some: the same ones.
    btf: std::sync::OnceLock<KernelBtf>,
}

/// A program that the kernel takes, as constants instead of what depends on the machine.
pub(super) struct Judged(KernelProgram);

impl Kernel {
    fn btf(&self) -> &KernelBtf {
        let load = || KernelBtf::load(&crate::generator::types().to_kernel_bytes()).expect("plain types");
        self.btf.get_or_init(load)
    }

    pub(super) fn maps(&self, defs: &[MapDef]) -> Vec<KernelMap> {
        let typed = defs.iter().any(|def| def.btf_value != 0);
        let options = MapSetOptions { btf: typed.then(|| self.btf()), pin_directory: None };
        create_maps(defs, options).expect("small maps")
    }

    pub(super) fn judge(
        &self,
        program: &Program,
        maps: &[KernelMap],
        world: &FixedEnvironment,
    ) -> Result<Judged, Box<OsError>> {
        let btf = program.btf.as_ref().map(|_| self.btf());
        let options = LoadOptions { btf, symbols: Some(&self.symbols), ..LoadOptions::default() };
        let copy = oracle::fixed_copy(program, &oracle::Fixed::of(world));
        if copy.insns != program.insns {
            // Where the copy has constants in place of calls, its verdict is on another program.
            KernelProgram::load(program, maps, options)?;
        }
        Ok(Judged(KernelProgram::load(&copy, maps, options)?))
    }
}

impl Judged {
    /// One test run on what the context holds, which takes the result over.
    pub(super) fn run<C: Context>(&self, context: &mut C) -> Result<u64, OsError> {
        let mut uapi = Vec::new();
        context.uapi(&mut uapi);
        let data = context.packet_mut().map(|packet| packet.bytes_with_meta().to_vec()).unwrap_or_default();
        let input = TestInput::of(self.0.prog_type()).expect("types with test runs");
        let result = self.0.test_run(&TestRun::packet(input, &data, 0, &uapi))?;
        if let Some(packet) = context.packet_mut() {
            let meta = result.ctx_out.first_chunk().map_or(0, |&word| u32::from_le_bytes(word)) as usize;
            let meta = if input == TestInput::Xdp { meta.min(result.data_out.len()) } else { 0 };
            let (before, bytes) = result.data_out.split_at(meta);
            packet.set(bytes).expect("a packet that fits");
            packet.set_meta(before).expect("metadata that fits");
        }
        // Not every type gives its context back.
        if !result.ctx_out.is_empty() {
            context.set_uapi(&result.ctx_out);
        }
        Ok(u64::from(result.retval))
    }
}

/// Puts a map back to what it was, or to these elements.
pub(super) fn reset(map: &KernelMap, def: &MapDef, elements: impl Fn() -> Vec<Vec<u8>>) {
    match def.kind {
        MapKind::Array => {
            for (index, value) in (0_u32..).zip(elements()) {
                map.update(&index.to_ne_bytes(), &value, 0).expect("an element of an array");
            }
        }
        MapKind::Hash => {
            while let Some(key) = map.next_key(None).expect("keys") {
                map.delete(&key).expect("a key");
            }
        }
        MapKind::Ringbuf => drop(contents(map, def)),
        _ => {}
    }
}

/// Elements or records.
pub(super) fn contents(map: &KernelMap, def: &MapDef) -> Vec<(Vec<u8>, Vec<u8>)> {
    match def.kind {
        MapKind::Array | MapKind::Hash => map.entries().expect("elements"),
        MapKind::Ringbuf => {
            let records = RingBuffer::open(map).expect("a mapping").drain();
            records.into_iter().map(|record| (Vec::new(), record)).collect()
        }
        _ => Vec::new(),
    }
}
