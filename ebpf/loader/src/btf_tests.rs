//! The reader on BTF made by hand.

use super::*;

/// Builds BTF from types of (name, kind, vlen, other, trailing words).
fn build(strings: &str, types: &[(u32, u32, u32, u32, &[u32])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, kind, vlen, other, trailing) in types {
        for word in [*name, kind << 24 | vlen, *other].iter().chain(*trailing) {
            body.extend(word.to_ne_bytes());
        }
    }
    let mut bytes = Vec::new();
    let words = [
        0x0001_eb9f,
        24,
        0,
        body.len() as u32,
        body.len() as u32,
        strings.len() as u32,
    ];
    for word in words {
        bytes.extend(u32::to_ne_bytes(word));
    }
    bytes.extend(body);
    bytes.extend(strings.as_bytes());
    bytes
}

/// `struct file { int x; union { const struct path f_path; } }`, `struct path { int y; int dentry;
/// }`, and a function.
fn sample() -> Vec<u8> {
    let strings = "\0file\0x\0f_path\0path\0y\0dentry\0bpf_lsm_file_open\0int\0";
    let at = |text: &str| strings.find(&format!("\0{text}\0")).expect("known") as u32 + 1;
    build(
        strings,
        &[
            (at("int"), KIND_INT, 0, 4, &[32]),
            (
                at("path"),
                KIND_STRUCT,
                2,
                8,
                &[at("y"), 1, 0, at("dentry"), 1, 32],
            ),
            (0, KIND_CONST, 0, 2, &[]),
            (0, KIND_UNION, 1, 8, &[at("f_path"), 3, 0]),
            (at("file"), KIND_STRUCT, 2, 24, &[at("x"), 1, 0, 0, 4, 128]),
            (at("bpf_lsm_file_open"), KIND_FUNC, 0, 7, &[]),
            (0, KIND_FUNC_PROTO, 1, 1, &[at("x"), 1]),
        ],
    )
}

#[test]
fn members_are_found_through_anonymous_unions_and_modifiers() {
    let btf = Btf::parse(sample()).expect("well formed");
    assert_eq!(btf.offset("file", "x"), Some(0));
    assert_eq!(btf.offset("file", "f_path"), Some(16));
    assert_eq!(btf.offset("file", "f_path.dentry"), Some(20));
    assert_eq!(btf.offset("file", "f_path.nothing"), None);
    assert_eq!(btf.offset("nothing", "x"), None);
    assert!(btf.has_function("bpf_lsm_file_open"));
    assert!(!btf.has_function("bpf_lsm_nothing"));
    assert_eq!(btf.parameters("bpf_lsm_file_open"), Some(1));
}

#[test]
fn a_missing_field_is_an_error_that_names_it() {
    let btf = Btf::parse(sample()).expect("well formed");
    let error = btf.offsets().expect_err("the sample lacks most fields");
    assert_eq!(
        error.to_string(),
        "the running kernel's BTF has no field `f_inode` in `struct file`"
    );
}

#[test]
fn no_cut_or_flipped_byte_makes_it_panic() {
    let whole = sample();
    for length in 0..whole.len() {
        if let Ok(btf) = Btf::parse(whole[..length].to_vec()) {
            let _ = btf.offset("file", "f_path.dentry");
        }
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            if let Ok(btf) = Btf::parse(bytes) {
                let _ = btf.offset("file", "f_path.dentry");
                let _ = btf.has_function("x");
            }
        }
    }
}

#[test]
fn a_kernel_that_shows_its_btf_has_every_field() {
    if !Path::new(VMLINUX).exists() {
        eprintln!("skipped: this kernel shows no BTF");
        return;
    }
    let btf = Btf::of_kernel().expect("readable");
    btf.offsets().expect("every field");
}
