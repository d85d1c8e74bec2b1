//! The tables as the decision sees them: BPF maps in the kernel, ordinary maps on the host.

use crate::abi::{
    CapabilityKey, CapabilityRule, DeviceKey, FileRule, GrantKey, InodeKey, IoctlKey, MAX_DEPTH,
    MountKey, MountRule, PolicyHeader, PolicyId, ProcessKey, ProcessRule, RightsRule, SuperKey,
    SuperRule,
};
use crate::socket::{Asked, NameKey, SocketAnswer, UnixRule};

/// Look-ups by key; `None` is "no such rule", which the decision answers with a refusal.
pub trait Lookup {
    /// `POLICIES`.
    fn policy(&self, id: PolicyId) -> Option<PolicyHeader>;
    /// `FILES`.
    fn file(&self, key: InodeKey) -> Option<FileRule>;
    /// `SUPERS`.
    fn super_block(&self, key: SuperKey) -> Option<SuperRule>;
    /// `DEVICES`.
    fn device(&self, key: DeviceKey) -> Option<RightsRule>;
    /// `MOUNTS`.
    fn mount(&self, key: MountKey) -> Option<MountRule>;
    /// `CAPABILITIES`, tested for one system call; see [`CapabilityRule`]. The whole value is too
    /// large to copy on the kernel's 512-byte stack, so the implementation tests the bit in
    /// place.
    fn capability(&self, key: CapabilityKey, syscall: Option<u32>) -> Option<CapabilityUse>;
    /// `PROCESSES`.
    fn process(&self, key: ProcessKey) -> Option<ProcessRule>;
    /// `MODULES`.
    fn module(&self, key: InodeKey) -> Option<RightsRule>;
    /// `SOCKETS` and `SOCKET_PLACES`, whichever decides, asked in place as with
    /// [`Lookup::capability`].
    fn socket(&self, policy: PolicyId, asked: &Asked) -> Option<SocketAnswer>;
    /// `UNIX_PATHS`.
    fn unix_path(&self, key: InodeKey) -> Option<UnixRule>;
    /// `UNIX_NAMES`.
    fn unix_name(&self, key: NameKey) -> Option<UnixRule>;
    /// `NETWORKS`: the network namespace that the container started in.
    fn network(&self, policy: PolicyId) -> Option<u32>;
    /// `GRANTS`.
    fn grant(&self, key: GrantKey) -> Option<RightsRule>;
    /// Whether `IOCTLS` has the command.
    fn ioctl(&self, key: IoctlKey) -> bool;
    /// `DEVICE_USES`: how often file systems under an anonymous device number have gone away.
    fn uses_of_device(&self, dev: u32) -> u32;
    /// The same value. Where it is the kernel that decides, its verifier then no longer knows it,
    /// and does not go once through what follows for each value that there may be.
    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        value
    }
}

/// What `CAPABILITIES` says of one capability in one system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapabilityUse {
    /// Whether the pair is allowed.
    pub allowed: bool,
    /// [`CapabilityRule::rule`].
    pub rule: u32,
}

impl CapabilityRule {
    /// Whether the capability may be used in `syscall`; `None` is a caller whose system call is not
    /// known.
    #[inline(always)]
    pub fn used_in(&self, syscall: Option<u32>) -> CapabilityUse {
        let allowed = match syscall {
            _ if self.all == 1 => true,
            Some(number) if number < crate::abi::SYSCALLS => {
                // Opaque, so that the mask stays: the verifier of 6.1 does not see that the bound
                // above implies it.
                let word = core::hint::black_box(number as usize >> 6) & 7;
                self.syscalls[word] >> (number & 63) & 1 == 1
            }
            _ => false,
        };
        CapabilityUse {
            allowed,
            rule: self.rule,
        }
    }
}

/// The chain of inodes from an object up to the root of its file system.
pub trait Chain {
    /// Visits the inodes from the object upwards until `visit` says that it has seen enough.
    ///
    /// A loop of its own for the kernel's sake: there it is one that the verifier goes through
    /// once, and not [`MAX_DEPTH`] times.
    fn walk<V: FnMut(Step) -> bool>(&mut self, visit: &mut V) -> Walked;
}

/// One link of a [`Chain`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Inode number; 0, which no rule has, for an entry without an inode.
    pub ino: u64,
    /// `i_generation`, 0 where it is not known.
    pub generation: u32,
    /// How far above the object; 0 for the object itself.
    pub depth: u32,
}

/// How a walk up a [`Chain`] ended.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walked {
    /// After [`MAX_DEPTH`] steps, with more above.
    TooDeep = 0,
    /// At the root of its file system, or at the top of a chain that is connected to none.
    Top = 1,
    /// Where the visitor wanted.
    Stopped = 2,
}

impl<I: Iterator<Item = u64>> Chain for core::iter::Peekable<I> {
    fn walk<V: FnMut(Step) -> bool>(&mut self, visit: &mut V) -> Walked {
        for depth in 0..MAX_DEPTH {
            let step = Step {
                ino: self.next().unwrap_or(0),
                generation: 0,
                depth,
            };
            if visit(step) {
                return Walked::Stopped;
            }
            if self.peek().is_none() {
                return Walked::Top;
            }
        }
        Walked::TooDeep
    }
}
