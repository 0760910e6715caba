//! One program, run by the checked interpreter on many contexts of words.

use std::sync::Arc;

use beelift::interp::{InterpProgram, Moment, Observer};
use beelift::link::Trap;
use beelift::runtime::TrapKind;
use beelift::runtime::abi::{ExecContext, Host};
use beelift::runtime::ctx::{Context, RawContext};
use beelift::runtime::helper::{self, Effects};
use beelift::runtime::map::{self, MapHandle};
use beelift::runtime::mem::Regions;
use beelift::{FixedEnvironment, Program};

/// Backward jumps of a run.
const FUEL: u64 = 1 << 12;

/// A program of a type with a plain context, and the context.
pub(crate) struct Concrete {
    program: InterpProgram,
    context: RawContext,
}

impl Concrete {
    /// The program as if no verifier had seen it, with empty maps.
    pub(crate) fn new(program: &Program, words: usize) -> Self {
        let create = |def| Box::new(MapHandle::new(map::create(def, 1).expect("a map")));
        let maps: Arc<[_]> = program.maps.iter().map(create).collect();
        let context = RawContext::new(program.prog_type, &vec![0; 8 * words]).expect("memory");
        let program = InterpProgram::new(Arc::new(program.clone()), maps, &|id| helper::by_id(id).copied());
        Self { program: program.expect("nothing that the interpreter lacks"), context }
    }

    /// One run.
    pub(crate) fn run(&mut self, words: &[u64], observer: &mut dyn Observer) -> Result<u64, Box<Trap>> {
        for (bytes, word) in self.context.bytes().as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        let entry = self.context.enter();
        let effects = Effects::default();
        let host = Host {
            environment: &FixedEnvironment::default(),
            effects: &effects,
            fuel: FUEL,
            cpu: 0,
            program: 1,
            numa_node: 0,
        };
        let context = &self.context;
        let cx = ExecContext::new(host, context, entry.r1, self.program.maps(), None);
        let mut regions = Regions::new(self.program.maps());
        context.regions(&mut regions);
        self.program.run_observed(&cx, regions, entry, observer)
    }
}

/// How often an instruction is about to be executed.
pub(crate) struct Visits {
    pub(crate) of: beelift::isa::InsnId,
    pub(crate) count: u64,
}

impl Observer for Visits {
    fn before(&mut self, moment: &Moment<'_>) -> Result<(), TrapKind> {
        self.count += u64::from(moment.at == self.of);
        Ok(())
    }
}
