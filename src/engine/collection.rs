//! From an object to programs that run: maps created once, each program linked, verified, compiled, published.
//!
//! Programs of one object share its maps, so a collection lives in user space or in the kernel as a whole: when
//! one program needs what user space does not have and the choice is `Auto`, all of them go to the kernel.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use beelift_runtime::map::{MapDef, MapError, MapHandle as RuntimeHandle, completed};

use super::error::Error;
use super::maps::MapHandle;
use super::program::{Body, Loaded};
use super::user_maps::{names_map, put_map, used};
use super::{Choice, Engine};
use crate::elf::{MapEntry, Object};
use crate::interp::InterpProgram;
use crate::isa::MapSlot;
use crate::link::{self, LinkOptions, Program};
use crate::verify::facts::{AccessFact, Region};
use crate::verify::{self, Failure, Verified};

/// Loaded programs and the maps they share.
#[derive(Debug)]
pub struct Collection {
    programs: Vec<Loaded>,
    maps: Vec<MapHandle>,
    fallback: Option<String>,
    /// Held while callbacks of timers run.
    running_timers: Mutex<()>,
}

/// How long the steps of loading one program took. Reading the object is not part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LoadTimes {
    /// Linking and CO-RE.
    pub link: Duration,
    /// The proof of safety; for the kernel backend its whole load.
    pub verify: Duration,
    /// From the proof to machine code.
    pub compile: Duration,
    /// Binding names to addresses and making the code runnable.
    pub publish: Duration,
}

impl Collection {
    pub(super) fn running_timers(&self) -> &Mutex<()> {
        &self.running_timers
    }
    /// All programs.
    #[must_use]
    pub fn programs(&self) -> &[Loaded] {
        &self.programs
    }
    /// The program of that name.
    ///
    /// # Errors
    /// There is none; the error names those there are.
    pub fn program(&self, name: &str) -> Result<&Loaded, Error> {
        self.programs.iter().find(|program| program.name() == name).ok_or_else(|| Error::NoSuchProgram {
            name: name.to_owned(),
            available: self.programs.iter().map(|program| program.name().to_owned()).collect(),
        })
    }
    /// All maps, in the order of the object.
    #[must_use]
    pub fn maps(&self) -> &[MapHandle] {
        &self.maps
    }
    /// The map of that name.
    ///
    /// # Errors
    /// There is none; the error names those there are.
    pub fn map(&self, name: &str) -> Result<&MapHandle, Error> {
        self.maps.iter().find(|map| map.def().name == name).ok_or_else(|| Error::NoSuchMap {
            name: name.to_owned(),
            available: self.maps.iter().map(|map| map.def().name.clone()).collect(),
        })
    }
    /// Why the collection went to the kernel although user space was tried first.
    #[must_use]
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }
}

impl Engine {
    /// Loads all programs of an object that load by themselves (not those of `SEC("?…")`).
    ///
    /// # Errors
    /// The first program that cannot be loaded, and why.
    pub fn load(&self, object: &Object) -> Result<Collection, Error> {
        let names: Vec<&str> = object
            .programs()
            .iter()
            .filter(|program| program.autoload)
            .map(|program| program.name.as_str())
            .collect();
        self.load_programs(object, &names)
    }

    /// Loads the programs of those names, and behind them the programs that a `prog_array` of the object names and
    /// that tail calls can reach from there.
    ///
    /// # Errors
    /// The first program that cannot be loaded, and why.
    pub fn load_programs(&self, object: &Object, names: &[&str]) -> Result<Collection, Error> {
        if let Some(name) = names.iter().find(|name| object.program(name).is_none()) {
            return Err(Error::NoSuchProgram {
                name: (*name).to_owned(),
                available: object.programs().iter().map(|program| program.name.clone()).collect(),
            });
        }
        let user = || {
            let programs = link_all(object, names, &self.shared.link)?;
            self.load_user(programs, object.map_entries())
        };
        let kernel = || {
            // The kernel's own types answer CO-RE for a program that runs there.
            let programs = link_all(object, names, &LinkOptions::for_kernel())?;
            self.load_kernel(programs, object.map_entries())
        };
        self.load_by_choice(user, kernel)
    }

    /// Loads programs that are linked already; all of them come from the same object (or have the same maps).
    ///
    /// # Errors
    /// The first program that cannot be loaded, and why.
    pub fn load_linked(&self, programs: Vec<Program>) -> Result<Collection, Error> {
        let programs: Vec<_> = programs.into_iter().map(|program| (program, Duration::ZERO)).collect();
        let again = programs.clone();
        self.load_by_choice(|| self.load_user(programs, &[]), || self.load_kernel(again, &[]))
    }

    /// Loads one program that is verified already: a proof serves any number of engines. The policy is that of the
    /// proof, not this engine's.
    ///
    /// # Errors
    /// The program cannot be loaded, and why.
    pub fn load_verified(&self, verified: &Verified) -> Result<Collection, Error> {
        let program = verified.program();
        let cpus = self.shared.cpus.count();
        if let Some(proven) = verified.facts().cpus.filter(|proven| *proven < cpus) {
            let what = format!("a proof for {proven} CPUs where there are {cpus}");
            return Err(Error::Unsupported { program: program.name.clone(), what });
        }
        let user = || {
            let maps = self.create_maps(program, |slot| names_map(program, slot))?;
            let loaded = self.load_proven(verified, LoadTimes::default(), &maps)?;
            self.collect(vec![loaded], &maps, &[])
        };
        self.load_by_choice(user, || self.load_kernel(vec![(program.clone(), Duration::ZERO)], &[]))
    }

    /// As [`load_verified`](Self::load_verified) in user space, with maps of another collection, which need not be of
    /// this engine: one for each map of the program, in order.
    ///
    /// # Errors
    /// A map in the kernel, or of another definition than the program's; the program cannot be loaded.
    pub fn load_verified_with(&self, verified: &Verified, maps: &[MapHandle]) -> Result<Collection, Error> {
        let defs = &verified.program().maps;
        let fits = |index: usize, def: &MapDef| {
            let map = maps.get(index).and_then(MapHandle::runtime)?;
            (*map.def() == *completed(def, self.shared.cpus.count())).then(|| Arc::clone(map))
        };
        let maps = defs.iter().enumerate().map(|(index, def)| match fits(index, def) {
            Some(map) => Ok(Box::new(RuntimeHandle::new(map))),
            None => {
                let map = def.name.clone();
                Err(Error::Map { map, operation: "share", error: MapError::Invalid })
            }
        });
        let maps = maps.collect::<Result<Arc<[_]>, Error>>()?;
        let loaded = self.load_proven(verified, LoadTimes::default(), &maps)?;
        self.collect(vec![loaded], &maps, &[])
    }

    /// Loads one program that is linked already, with what its object says of maps and tail calls.
    ///
    /// # Errors
    /// The program cannot be loaded, and why.
    pub fn load_from(&self, program: Program, object: Option<&Object>) -> Result<Collection, Error> {
        self.load_with(program, object, &[])
    }

    /// As [`load_from`](Self::load_from), with other programs of the object behind it: those that fills name.
    ///
    /// # Errors
    /// A program cannot be loaded, and why.
    pub fn load_with(
        &self,
        program: Program,
        object: Option<&Object>,
        others: &[&str],
    ) -> Result<Collection, Error> {
        let Some(object) = object else { return self.load_linked(vec![program]) };
        let entries = object.map_entries();
        let mut programs = vec![(program, Duration::ZERO)];
        for &name in others {
            if !programs.iter().any(|(program, _)| program.name == name) {
                programs.push(link_one(object, name, &self.shared.link)?);
            }
        }
        let programs = with_targets(object, programs, &self.shared.link)?;
        let again = programs.clone();
        self.load_by_choice(|| self.load_user(programs, entries), || self.load_kernel(again, entries))
    }

    /// Only what user space does not support may go to the kernel instead.
    fn load_by_choice(
        &self,
        user: impl FnOnce() -> Result<Collection, Error>,
        kernel: impl FnOnce() -> Result<Collection, Error>,
    ) -> Result<Collection, Error> {
        match self.shared.choice {
            Choice::Kernel => kernel(),
            Choice::Jit | Choice::Interpreter => user(),
            Choice::Auto => match user() {
                Err(unsupported @ Error::Unsupported { .. }) => {
                    let unsupported = unsupported.to_string();
                    match kernel() {
                        Ok(collection) => Ok(Collection { fallback: Some(unsupported), ..collection }),
                        Err(kernel) => Err(Error::NoBackend { unsupported, kernel: kernel.to_string() }),
                    }
                }
                result => result,
            },
        }
    }

    fn load_user(
        &self,
        programs: Vec<(Program, Duration)>,
        entries: &[(MapSlot, MapEntry)],
    ) -> Result<Collection, Error> {
        let Some((first, _)) = programs.first() else { return Ok(Collection::empty()) };
        let maps = self.create_maps(first, |slot| used(&programs, entries, slot))?;
        for (slot, entry) in entries.iter().filter(|(slot, _)| used(&programs, entries, *slot)) {
            let outer = &maps[slot.0 as usize]; // u32 to usize
            match entry {
                MapEntry::Map { index, map } => {
                    put_map(outer, *index, &maps[map.0 as usize])?;
                }
                MapEntry::Program { .. } => {}
                MapEntry::Callback { .. } => {
                    return Err(Error::Unsupported {
                        program: first.name.clone(),
                        what: format!("callbacks in map `{}`", outer.map.def().name),
                    });
                }
            }
        }
        let programs = programs
            .into_iter()
            .map(|(program, link)| self.load_one(program, link, &maps))
            .collect::<Result<Vec<Loaded>, _>>()?;
        self.collect(programs, &maps, entries)
    }

    /// Programs and maps become a collection, and programs elements of maps.
    fn collect(
        &self,
        programs: Vec<Loaded>,
        maps: &Arc<[Box<RuntimeHandle>]>,
        entries: &[(MapSlot, MapEntry)],
    ) -> Result<Collection, Error> {
        let handles: Vec<MapHandle> =
            maps.iter().map(|handle| MapHandle::user(Arc::clone(&handle.map))).collect();
        for program in &programs {
            program.claim_arrays(|slot| Arc::clone(&maps[slot].map)).map_err(|slot| {
                let map = maps[slot].map.def().name.clone();
                Error::Map { map, operation: "tail call", error: MapError::Invalid }
            })?;
        }
        for (slot, entry) in entries {
            // A program that is not loaded leaves its element empty, as with libbpf.
            if let MapEntry::Program { index, program } = entry
                && let Some(target) = programs.iter().find(|loaded| loaded.name() == program)
            {
                handles[slot.0 as usize].set_program(*index, target)?;
            }
        }
        Ok(Collection { programs, maps: handles, fallback: None, running_timers: Mutex::default() })
    }

    fn load_one(
        &self,
        program: Program,
        link: Duration,
        maps: &Arc<[Box<RuntimeHandle>]>,
    ) -> Result<Loaded, Error> {
        if self.shared.unverified {
            let body = Body::Interp(interpreted(&program, maps)?);
            let times = LoadTimes { link, ..LoadTimes::default() };
            return Ok(Loaded::new(Arc::clone(&self.shared), Arc::new(program), body, times));
        }
        let name = program.name.clone();
        let start = Instant::now();
        let verified = match &self.shared.cache {
            Some(cache) => verify::verify_cached(program, &self.shared.verify, cache),
            None => verify::verify(program, &self.shared.verify),
        };
        let verified = verified.map_err(|failure| match failure {
            Failure::Rejected(rejected) => Error::Rejected(rejected),
            Failure::Unsupported { what, .. } => Error::Unsupported { program: name, what },
        })?;
        self.load_proven(&verified, LoadTimes { link, verify: start.elapsed(), ..LoadTimes::default() }, maps)
    }

    fn load_proven(
        &self,
        verified: &Verified,
        mut times: LoadTimes,
        maps: &Arc<[Box<RuntimeHandle>]>,
    ) -> Result<Loaded, Error> {
        let body = if self.shared.choice == Choice::Interpreter {
            interpreted_proven_by(verified, maps)?
        } else {
            self.compiled(verified, maps, &mut times)?
        };
        let program = Arc::new(verified.program().clone());
        Ok(Loaded::new(Arc::clone(&self.shared), program, body, times).proven_by(verified.facts()))
    }

    #[cfg(feature = "jit")]
    fn compiled(
        &self,
        verified: &Verified,
        maps: &Arc<[Box<RuntimeHandle>]>,
        times: &mut LoadTimes,
    ) -> Result<Body, Error> {
        use crate::codegen::{self, CodegenError};
        use crate::exec::JitProgram;
        let program = verified.program();
        let name = &program.name;
        let failed = |error: CodegenError| match error {
            CodegenError::Unsupported(what) => {
                Error::Unsupported { program: name.clone(), what: what.to_string() }
            }
            error => Error::Codegen { program: name.clone(), error },
        };
        let start = Instant::now();
        let options = crate::ir::Options { assert_facts: self.shared.check_facts };
        let code = codegen::compile_verified(verified, options, &self.shared.target).map_err(failed)?;
        times.compile = start.elapsed();
        let start = Instant::now();
        let types = (program.prog_type, program.attach_type, verified.facts().buffer);
        let asks_host = self.shared.asks_host;
        let helpers = |id| {
            use beelift_runtime::helper;
            let direct = if asks_host { helper::for_host(id) } else { None };
            direct.or_else(|| program.helper(id).and_then(|helper| helper.function))
        };
        let loaded = JitProgram::load(Arc::new(code), types, &self.shared.code, Arc::clone(maps), &helpers)
            .map_err(|error| unpublished(program, error))?
            .with_objects(program.object_types());
        times.publish = start.elapsed();
        Ok(Body::Jit(loaded))
    }

    #[cfg(not(feature = "jit"))]
    fn compiled(
        &self,
        verified: &Verified,
        maps: &Arc<[Box<RuntimeHandle>]>,
        _times: &mut LoadTimes,
    ) -> Result<Body, Error> {
        if self.shared.choice == Choice::Jit {
            let program = verified.program().name.clone();
            return Err(Error::Unsupported { program, what: "native code (feature `jit`)".to_owned() });
        }
        interpreted_proven_by(verified, maps)
    }

    #[cfg(feature = "kernel")]
    fn load_kernel(
        &self,
        programs: Vec<(Program, Duration)>,
        entries: &[(MapSlot, MapEntry)],
    ) -> Result<Collection, Error> {
        use std::os::fd::AsFd;

        use crate::kernel::{self, KernelBtf, KernelProgram, LoadOptions, MapSetOptions, oracle};
        let Some((first, _)) = programs.first() else { return Ok(Collection::empty()) };
        let btf = match &first.btf {
            // Types only explain: a program loads without them where the kernel does not take them.
            Some(btf) => KernelBtf::load(&btf.to_kernel_bytes()).ok(),
            None => None,
        };
        let set = MapSetOptions { btf: btf.as_ref(), ..MapSetOptions::default() };
        let maps = kernel::create_maps(&first.maps, set)?;
        let fixed = self.shared.deterministic.then(|| oracle::Fixed::of(&*self.shared.environment));
        let mut loaded: Vec<(Program, KernelProgram, LoadTimes)> = Vec::with_capacity(programs.len());
        for (program, link) in programs {
            let start = Instant::now();
            let options = LoadOptions { btf: btf.as_ref(), ..LoadOptions::default() };
            let in_kernel = match &fixed {
                Some(fixed) => KernelProgram::load(&oracle::fixed_copy(&program, fixed), &maps, options)?,
                None => KernelProgram::load(&program, &maps, options)?,
            };
            let times = LoadTimes { link, verify: start.elapsed(), ..LoadTimes::default() };
            loaded.push((program, in_kernel, times));
        }
        for (slot, entry) in entries {
            let outer = &maps[slot.0 as usize];
            match entry {
                MapEntry::Map { index, map } => {
                    put(outer, *index, maps[map.0 as usize].as_fd())?;
                }
                // `create_maps` refused struct_ops maps already.
                MapEntry::Callback { .. } => {}
                MapEntry::Program { index, program } => {
                    if let Some((_, target, _)) = loaded.iter().find(|(linked, ..)| linked.name == *program) {
                        put(outer, *index, target.as_fd())?;
                    }
                }
            }
        }
        let loaded_defs = Arc::clone(&loaded[0].0.maps);
        let programs = loaded
            .into_iter()
            .map(|(program, in_kernel, times)| {
                Loaded::new(Arc::clone(&self.shared), Arc::new(program), Body::Kernel(in_kernel), times)
            })
            .collect();
        let defs = loaded_defs.iter().cloned();
        let maps =
            maps.into_iter().zip(defs).map(|(map, def)| MapHandle::kernel(Arc::new(map), def)).collect();
        Ok(Collection { programs, maps, fallback: None, running_timers: Mutex::default() })
    }

    #[cfg(not(feature = "kernel"))]
    fn load_kernel(
        &self,
        programs: Vec<(Program, Duration)>,
        _entries: &[(MapSlot, MapEntry)],
    ) -> Result<Collection, Error> {
        let program = programs.first().map(|(program, _)| program.name.clone()).unwrap_or_default();
        Err(Error::Unsupported { program, what: "loading into the kernel (feature `kernel`)".to_owned() })
    }
}

impl Collection {
    const fn empty() -> Self {
        Self { programs: Vec::new(), maps: Vec::new(), fallback: None, running_timers: Mutex::new(()) }
    }
}

/// Links programs one by one, each with the time it took; behind them those that their tail calls can reach.
fn link_all(
    object: &Object,
    names: &[&str],
    options: &LinkOptions,
) -> Result<Vec<(Program, Duration)>, Error> {
    let linked = names.iter().map(|name| link_one(object, name, options)).collect::<Result<_, _>>()?;
    with_targets(object, linked, options)
}

fn link_one(object: &Object, name: &str, options: &LinkOptions) -> Result<(Program, Duration), Error> {
    let start = Instant::now();
    let program = link::link(object, name, options)?;
    Ok((program, start.elapsed()))
}

/// Adds the programs that tail calls of these and of the added ones can reach.
fn with_targets(
    object: &Object,
    mut programs: Vec<(Program, Duration)>,
    options: &LinkOptions,
) -> Result<Vec<(Program, Duration)>, Error> {
    let mut looked_at = 0;
    while let Some((program, _)) = programs.get(looked_at) {
        looked_at += 1;
        let mut targets: Vec<&str> = Vec::new();
        for (slot, entry) in object.map_entries() {
            let MapEntry::Program { program: target, .. } = entry else { continue };
            if names_map(program, *slot) {
                targets.push(target);
            }
        }
        for target in targets {
            if !programs.iter().any(|(program, _)| program.name == target) {
                programs.push(link_one(object, target, options)?);
            }
        }
    }
    Ok(programs)
}

/// Puts a map or program into an element of a kernel map.
#[cfg(feature = "kernel")]
fn put(
    outer: &crate::kernel::KernelMap,
    index: u32,
    held: std::os::fd::BorrowedFd<'_>,
) -> Result<(), crate::kernel::OsError> {
    use std::os::fd::AsRawFd;
    outer.update(&index.to_ne_bytes(), &held.as_raw_fd().to_ne_bytes(), 0)
}

/// What nobody serves in user space is lacking, not broken.
#[cfg(feature = "jit")]
fn unpublished(program: &Program, error: crate::exec::LinkError) -> Error {
    use crate::exec::LinkError;
    let what = match error {
        LinkError::HelperMissing(id) => {
            format!("helper {}", program.helper(id).map_or("that nobody has", |helper| helper.name))
        }
        LinkError::KfuncMissing(number) => {
            let kfunc = beelift_runtime::helper::kfunc(number);
            format!("kernel function {}", kfunc.map_or("that nobody has", |kfunc| kfunc.name))
        }
        error => return Error::Publish { program: program.name.clone(), error },
    };
    Error::Unsupported { program: program.name.clone(), what }
}

/// The checked reference engine over a program that was verified.
fn interpreted_proven_by(verified: &Verified, maps: &Arc<[Box<RuntimeHandle>]>) -> Result<Body, Error> {
    let facts = verified.facts();
    let of_kernel = |fact: &Option<AccessFact>| fact.is_some_and(|fact| fact.region == Region::Object);
    if let Some(at) = facts.access.iter().position(of_kernel) {
        let what = format!("instruction {at}: access to a kernel object");
        return Err(Error::Unsupported { program: verified.program().name.clone(), what });
    }
    let asked = Arc::new(facts.obligations());
    Ok(Body::Interp(interpreted(verified.program(), maps)?.with_obligations(asked)))
}

/// The checked reference engine over a program.
fn interpreted(program: &Program, maps: &Arc<[Box<RuntimeHandle>]>) -> Result<InterpProgram, Error> {
    let helpers = |id| program.helper(id).copied();
    InterpProgram::new(Arc::new(program.clone()), Arc::clone(maps), &helpers)
        .map_err(|error| Error::Unsupported { program: program.name.clone(), what: error.to_string() })
}
