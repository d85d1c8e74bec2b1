//! Section `ipc`: objects of the host's IPC namespace, and keys.

use std::borrow::Cow;

use ebpf_common::Rights;
use ebpf_common::abi::ipc_class;
use ebpf_common::rights::ipc;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::names::kernel::{IPC, ipc_right, ipc_words, word};
use crate::reader::Reader;
use crate::source::Spanned;
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["shm", "sem", "msg", "mqueue", "keys"];

/// The words of a class, for the schema.
pub struct IpcRights<const CLASS: u32>;

impl<const CLASS: u32> JsonSchema for IpcRights<CLASS> {
    fn schema_name() -> Cow<'static, str> {
        let name = word(&IPC, CLASS).unwrap_or("?");
        format!("IpcRights-{name}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": { "enum": ipc_words(CLASS) },
            "minItems": 1,
            "uniqueItems": true,
        })
    }
}

/// What may be done to System V and POSIX IPC objects and to keys that are not the container's own.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Ipc {
    /// System V shared memory.
    #[schemars(with = "Option<IpcRights<{ ipc_class::SHM }>>")]
    pub shm: Option<Spanned<Rights>>,
    /// System V semaphores.
    #[schemars(with = "Option<IpcRights<{ ipc_class::SEM }>>")]
    pub sem: Option<Spanned<Rights>>,
    /// System V message queues.
    #[schemars(with = "Option<IpcRights<{ ipc_class::MSG }>>")]
    pub msg: Option<Spanned<Rights>>,
    /// POSIX message queues.
    #[schemars(with = "Option<IpcRights<{ ipc_class::MQUEUE }>>")]
    pub mqueue: Option<Spanned<Rights>>,
    /// Keys and keyrings.
    #[schemars(with = "Option<IpcRights<{ ipc_class::KEYS }>>")]
    pub keys: Option<Spanned<Rights>>,
}

impl Ipc {
    /// The grants by class, in the order of the language.
    pub fn grants(&self) -> impl Iterator<Item = (&'static str, u32, Spanned<Rights>)> {
        let all = [self.shm, self.sem, self.msg, self.mqueue, self.keys];
        IPC.into_iter()
            .zip(all)
            .filter_map(|((name, class), rights)| Some((name, class, rights?)))
    }

    fn slot(&mut self, class: u32) -> &mut Option<Spanned<Rights>> {
        match class {
            ipc_class::SHM => &mut self.shm,
            ipc_class::SEM => &mut self.sem,
            ipc_class::MSG => &mut self.msg,
            ipc_class::MQUEUE => &mut self.mqueue,
            _ => &mut self.keys,
        }
    }
}

/// Rights as a policy lists them.
pub(crate) fn text(rights: Rights) -> String {
    format!("[{}]", ipc::names(rights).collect::<Vec<_>>().join(", "))
}

pub(crate) fn read(reader: &mut Reader, node: &Node) -> Ipc {
    let mut read = Ipc::default();
    let Some(fields) = reader.fields(node, "ipc", KEYS) else {
        return read;
    };
    for (name, class) in IPC {
        if let Some((span, node)) = fields.entry(name) {
            let what = format!("rights over `{name}`");
            let words = reader.words(node, &what, &ipc_words(class), |word| {
                ipc_right(class, word)
            });
            let rights =
                words.map(|words| words.into_iter().fold(Rights::NONE, |all, one| all | one));
            *read.slot(class) = rights.map(|rights| Spanned::new(rights, span));
        }
    }
    read
}
