//! Jumps further than 16 bits reach, on every engine.

use beelift::engine::Choice;
use beelift::{Engine, Program, ProgramType};
use beelift_runtime::ctx::RawContext;

/// Instructions between the two ends.
const FAR: usize = 40_000;

#[test]
fn long_jumps_reach_far_in_both_directions() {
    let between = "r0 += 1\n".repeat(FAR);
    let source = format!(
        "r2 = *(u64 *)(r1 +0)\nr0 = 0\nif r2 == 0 goto near\ngotol far\nback:\nr0 += 7\nexit\nnear:\n{between}\
         exit\nfar:\nr0 += 2\ngotol back\n"
    );
    let program = Program::assemble(ProgramType::Syscall, &source, |_| None).expect("a program");
    let mut choices = vec![Choice::Interpreter];
    if cfg!(feature = "jit") {
        choices.push(Choice::Jit);
    }
    #[cfg(feature = "kernel")]
    if crate::require::kernel("long jumps") {
        choices.push(Choice::Kernel);
    }
    for choice in choices {
        let engine = Engine::builder().backend(choice).check_facts(true).build().expect("an engine");
        let collection = engine.load_linked(vec![program.clone()]).unwrap_or_else(|error| panic!("{error}"));
        for (word, result) in [(0_u64, FAR as u64), (1, 9)] {
            let mut context = RawContext::new(ProgramType::Syscall, &word.to_le_bytes()).expect("memory");
            let given = collection.programs()[0].run(&mut context).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(given, result, "{choice:?}");
        }
    }
}
