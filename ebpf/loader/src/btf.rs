//! Offsets of struct fields from the running kernel's BTF (`Documentation/bpf/btf.rst`).
//!
//! A reader of exactly what is needed: struct members by name, through anonymous structs and
//! unions, and the names of functions. The library that loads the programs keeps member offsets to
//! itself, and the one crate that reads them is LGPL.

use std::collections::HashMap;
use std::path::Path;

use ebpf_common::fields::{FIELDS, FieldInfo};

use crate::Error;

/// The running kernel's type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// A `struct btf_type`: its kind, what `size` or `type` holds, and where its trailing data begins.
#[derive(Clone, Copy)]
struct Type {
    kind: u32,
    vlen: u32,
    bitfields: bool,
    other: u32,
    data: usize,
}

/// Parsed BTF.
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    types: Vec<Type>,
    structs: HashMap<Box<str>, u32>,
    /// Name and prototype of each function.
    functions: Vec<(u32, u32)>,
}

/// Raw BTF of the running kernel.
pub(crate) fn read_kernel() -> Result<Vec<u8>, Error> {
    std::fs::read(Path::new(VMLINUX)).map_err(Error::NoBtf)
}

impl Btf {
    /// The running kernel's.
    ///
    /// # Errors
    /// [`Error::NoBtf`] where the kernel shows none, [`Error::BadBtf`] where it cannot be read.
    pub fn of_kernel() -> Result<Self, Error> {
        Self::parse(read_kernel()?)
    }

    /// Parses raw BTF of the machine's own byte order.
    ///
    /// # Errors
    /// [`Error::BadBtf`] for anything cut short or not BTF.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        let header = |at| word(&bytes, at).ok_or(Error::BadBtf("short header"));
        if header(0)? & 0xffff != u32::from(MAGIC) {
            return Err(Error::BadBtf("wrong magic"));
        }
        let header_bytes = header(4)? as usize;
        let types_at = header_bytes + header(8)? as usize;
        let types_end = types_at + header(12)? as usize;
        let strings = header_bytes + header(16)? as usize;
        let mut btf = Self {
            bytes,
            strings,
            types: vec![],
            structs: HashMap::new(),
            functions: vec![],
        };
        btf.read_types(types_at, types_end)?;
        Ok(btf)
    }

    fn read_types(&mut self, mut at: usize, end: usize) -> Result<(), Error> {
        // Type 0 is void and has no entry.
        self.types.push(Type {
            kind: 0,
            vlen: 0,
            bitfields: false,
            other: 0,
            data: 0,
        });
        while at < end {
            let part = |offset| word(&self.bytes, at + offset).ok_or(Error::BadBtf("short type"));
            let (name, info, other) = (part(0)?, part(4)?, part(8)?);
            let kind = info >> 24 & 0x1f;
            let vlen = info & 0xffff;
            let data = at + 12;
            let trailing = match kind {
                KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                KIND_ARRAY => 12,
                KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * vlen as usize,
                KIND_ENUM | KIND_FUNC_PROTO => 8 * vlen as usize,
                _ => 0,
            };
            let id = self.types.len() as u32;
            match kind {
                KIND_STRUCT => {
                    if let Some(text) = self.string(name).map(Box::from) {
                        self.structs.entry(text).or_insert(id);
                    }
                }
                KIND_FUNC => self.functions.push((name, other)),
                _ => {}
            }
            self.types.push(Type {
                kind,
                vlen,
                bitfields: info >> 31 == 1,
                other,
                data,
            });
            at = data + trailing;
        }
        Ok(())
    }

    fn string(&self, offset: u32) -> Option<&str> {
        let tail = self.bytes.get(self.strings + offset as usize..)?;
        let text = tail.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(text).ok()
    }

    /// Whether the kernel has a function of this name.
    pub fn has_function(&self, name: &str) -> bool {
        self.prototype(name).is_some()
    }

    /// How many parameters a function has.
    pub fn parameters(&self, name: &str) -> Option<u32> {
        self.types
            .get(self.prototype(name)? as usize)
            .map(|prototype| prototype.vlen)
    }

    fn prototype(&self, name: &str) -> Option<u32> {
        let known = self
            .functions
            .iter()
            .find(|(known, _)| self.string(*known) == Some(name))?;
        Some(known.1)
    }

    /// Byte offset of a dotted member path in a struct.
    pub fn offset(&self, container: &str, path: &str) -> Option<u32> {
        let mut id = *self.structs.get(container)?;
        let mut bytes = 0;
        for name in path.split('.') {
            let (bits, member) = self.member(self.skip_modifiers(id)?, name, 8)?;
            // A bit-field has no address.
            if bits % 8 != 0 {
                return None;
            }
            bytes += bits / 8;
            id = member;
        }
        Some(bytes)
    }

    fn skip_modifiers(&self, mut id: u32) -> Option<u32> {
        for _ in 0..16 {
            let found = self.types.get(id as usize)?;
            match found.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = found.other;
                }
                _ => return Some(id),
            }
        }
        None
    }

    /// Bit offset and type of a member, looked for in anonymous members too, to a depth of
    /// `levels`.
    fn member(&self, id: u32, name: &str, levels: u32) -> Option<(u32, u32)> {
        let container = self.types.get(id as usize)?;
        if levels == 0 || !matches!(container.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..container.vlen as usize {
            let at = container.data + 12 * index;
            let text = self.string(word(&self.bytes, at)?)?;
            let member = word(&self.bytes, at + 4)?;
            let raw = word(&self.bytes, at + 8)?;
            let bits = if container.bitfields {
                raw & 0xff_ffff
            } else {
                raw
            };
            if text == name {
                return Some((bits, member));
            }
            if text.is_empty()
                && let Some(inner) = self.skip_modifiers(member)
                && let Some((more, found)) = self.member(inner, name, levels - 1)
            {
                return Some((bits + more, found));
            }
        }
        None
    }

    /// Offsets of every field that the programs name, in the order of [`FIELDS`].
    ///
    /// # Errors
    /// [`Error::NoField`] names the first that this kernel lacks.
    pub fn offsets(&self) -> Result<Vec<u32>, Error> {
        let find = |field: &FieldInfo| {
            self.offset(field.container, field.member)
                .ok_or(Error::NoField {
                    container: field.container,
                    field: field.member,
                })
        };
        FIELDS.iter().map(find).collect()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(part.try_into().ok()?))
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
