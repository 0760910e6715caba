//! What making code runnable costs: our arena against a `JITModule` a program.
//!
//! `cargo bench --bench publish`. The same Cranelift function is compiled once for each way; only the way into
//! executable memory differs. cranelift-jit cannot unload a single function, so a module is made and freed each time.

use std::time::{Duration, Instant};

use beelift::exec::CodeMemory;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, Signature, UserFuncName, types};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::{Context, settings};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};

const ROUNDS: usize = 300;

fn isa() -> OwnedTargetIsa {
    let flags = settings::Flags::new(settings::builder());
    cranelift_native::builder().expect("a supported host").finish(flags).expect("default settings")
}

/// `fn() -> 2`
fn function(isa: &OwnedTargetIsa) -> Function {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.returns.push(AbiParam::new(types::I64));
    let mut function = Function::with_name_signature(UserFuncName::user(0, 0), signature);
    let mut scratch = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut function, &mut scratch);
    let block = builder.create_block();
    builder.switch_to_block(block);
    builder.seal_block(block);
    let two = builder.ins().iconst(types::I64, 2);
    builder.ins().return_(&[two]);
    builder.finalize(isa.frontend_config());
    function
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    samples[samples.len() / 2]
}

fn main() {
    let isa = isa();
    let mut compiled = Context::for_function(function(&isa));
    compiled.compile(&*isa, &mut ControlPlane::default()).expect("compiles");
    let bytes = compiled.compiled_code().expect("compiled above").code_buffer().to_vec();
    let memory = CodeMemory::new();
    // The first allocation maps the arena: once for a process.
    let kept = memory.allocate(bytes.len()).expect("memory").publish();
    let (mut arena, mut module) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut block = memory.allocate(bytes.len()).expect("memory");
        block.write(0, &bytes);
        let code = block.publish();
        arena.push(start.elapsed());
        assert_ne!(code.address(), kept.address());

        let mut jit = JITModule::new(JITBuilder::with_isa(isa.clone(), default_libcall_names()));
        let mut context = Context::for_function(function(&isa));
        let id = jit.declare_function("two", Linkage::Local, &context.func.signature).expect("declared");
        let start = Instant::now();
        jit.define_function_bytes(id, 16, &bytes, &[]).expect("defined");
        jit.finalize_definitions().expect("finalized");
        module.push(start.elapsed());
        assert!(!jit.get_finalized_function(id).is_null());
        jit.clear_context(&mut context);
        // SAFETY: nothing runs or names the module's code any more.
        unsafe { jit.free_memory() };
    }
    println!("publish {} bytes, median of {ROUNDS}:", bytes.len());
    println!("  arena      {:>10.2?}", median(arena));
    println!("  JITModule  {:>10.2?}", median(module));
}
