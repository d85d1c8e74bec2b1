//! A toy file tree of several mounted file systems, and the facts that a look-up in it would give.

use ebpf_common::abi::kernel_dev;

use crate::facts::{CoreObject, Facts, Found, Inode, Object, ObjectKind, PathKey, Submount};

/// What a directory is besides what the policy says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    None,
    /// The container's own.
    Own,
    /// Reeve's.
    Core,
}

/// A directory.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// `None` for the root; else a lower index.
    pub(super) parent: Option<usize>,
    /// A file system is mounted here.
    pub(super) mounted: Option<System>,
    pub(super) mark: Mark,
}

/// A file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct System {
    pub(super) magic: u32,
    /// Mounted by the runtime for the container.
    pub(super) own: bool,
}

/// The tree; node 0 is `/`, and a file system is mounted there.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

impl Tree {
    /// The node and those above it, up to the root.
    pub(super) fn upwards(&self, node: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(node), |at| self.nodes[*at].parent)
    }

    pub(super) fn path(&self, node: usize) -> String {
        let names = self.upwards(node).filter(|at| *at != 0);
        let mut names: Vec<String> = names.map(|at| format!("/n{at}")).collect();
        names.reverse();
        if names.is_empty() {
            "/".to_owned()
        } else {
            names.concat()
        }
    }

    /// The mount point of the file system that a node is in.
    pub(super) fn mount_of(&self, node: usize) -> usize {
        let mut above = self.upwards(node);
        above
            .find(|at| self.nodes[*at].mounted.is_some())
            .unwrap_or(0)
    }

    pub(super) fn system_of(&self, node: usize) -> System {
        self.nodes[self.mount_of(node)]
            .mounted
            .expect("a mount point")
    }

    /// Inode numbers repeat from one file system to the next, as they do.
    pub(super) fn inode(&self, node: usize) -> Inode {
        let mount = self.mount_of(node);
        Inode {
            dev: kernel_dev(0, 40 + mount as u32),
            ino: 2 + (node - mount) as u64,
        }
    }

    /// The inodes that the kernel side walks: up to the root of the file system.
    pub(super) fn chain(&self, node: usize) -> Vec<u64> {
        let mount = self.mount_of(node);
        let above = self
            .upwards(node)
            .take_while(|at| self.mount_of(*at) == mount);
        above.map(|at| self.inode(at).ino).collect()
    }

    pub(super) fn is_below(&self, node: usize, above: usize) -> bool {
        node != above && self.upwards(node).any(|at| at == above)
    }

    fn object(&self, node: usize) -> Object {
        let all = 0..self.nodes.len();
        let mounts = all.filter(|at| self.is_below(*at, node) && self.nodes[*at].mounted.is_some());
        Object {
            real: self.path(node),
            inode: self.inode(node),
            generation: 0,
            magic: self.system_of(node).magic,
            kind: ObjectKind::Directory,
            ancestors: self
                .upwards(node)
                .skip(1)
                .map(|at| self.inode(at))
                .collect(),
            submounts: mounts
                .map(|at| Submount {
                    path: self.path(at),
                    inode: self.inode(at),
                    generation: 0,
                    magic: self.system_of(at).magic,
                })
                .collect(),
        }
    }

    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for (at, node) in self.nodes.iter().enumerate() {
            let (path, inode) = (self.path(at), self.inode(at));
            let found = Found::At(self.object(at));
            facts.paths.insert(PathKey::Path(path.clone()), found);
            match node.mark {
                Mark::None => {}
                Mark::Own => facts.own.push(inode),
                Mark::Core => facts.core.push(CoreObject {
                    path,
                    inode,
                    above: (self.upwards(at).skip(1))
                        .map(|above| self.inode(above))
                        .collect(),
                }),
            }
            if let Some(System { magic, own: true }) = node.mounted {
                facts.own_supers.push((inode.dev, magic));
            }
        }
        facts
    }
}
