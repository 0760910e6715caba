//! `conformance` as the public suite's runner calls it: bytes on stdin, memory as the first argument.

use std::io::Write;
use std::process::{Command, Stdio};

/// `r0 = *(u32 *)(r1 +0); r0 += r2; exit`
const SUM: &str = "61 10 00 00 00 00 00 00 0f 20 00 00 00 00 00 00 95 00 00 00 00 00 00 00";

/// Exit status and the text on stdout or, after a failure, stderr.
fn plugin(args: &[&str], stdin: &str) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_beelift"))
        .arg("conformance")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool was built");
    // A tool that fails early does not read its input.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let status = output.status.code().expect("it is not killed");
    let text = if status == 0 { output.stdout } else { output.stderr };
    (status, String::from_utf8(text).expect("text"))
}

#[test]
fn the_program_gets_its_memory_and_prints_r0() {
    for engine in ["jit", "interpreter", "all"] {
        assert_eq!(plugin(&["01 00 00 80 ff", "--engine", engine], SUM), (0, "80000006\n".to_owned()));
        let inline = ["--engine", engine, "--program", "bf 20 00 00 00 00 00 00 95 00 00 00 00 00 00 00"];
        assert_eq!(plugin(&inline, ""), (0, "0\n".to_owned()));
    }
}

#[test]
fn accesses_are_proven_for_the_length_given() {
    let (status, message) = plugin(&["010000"], SUM);
    assert_eq!(status, 3, "{message}");
    assert!(message.contains("out_of_bounds"), "{message}");
    let (status, message) = plugin(&[], SUM);
    assert_eq!(status, 3, "{message}");
    assert!(message.contains("number_access"), "{message}");
}

#[test]
fn bad_input_is_a_failure_with_a_message() {
    for (args, stdin, expected, says) in [
        (&[][..], "95 00", 1, "no whole number of instructions"),
        (&[][..], "xx", 1, "no hexadecimal digit"),
        (&["0"][..], SUM, 1, "the last byte is half"),
        (&[][..], "ff 00 00 00 00 00 00 00", 3, "opcode"),
        (&["--elf"][..], SUM, 1, "ELF"),
        (&["01020304", "--engine", "kernel"][..], SUM, 5, "memory"),
    ] {
        let (status, message) = plugin(args, stdin);
        assert!(status == expected && message.contains(says), "{args:?} {stdin}: {status} {message}");
    }
}
