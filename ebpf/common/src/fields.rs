//! Kernel struct fields that the programs read, with their offsets resolved at load time.
//!
//! Rust emits no CO-RE relocations, so no offset is compiled in: the loader looks each field up in
//! the running kernel's BTF and writes the byte offsets into the read-only array `OFFSETS` before
//! the programs are verified. To the verifier they are constants, so a load through a trusted
//! pointer stays a plain load. A field that the kernel does not have is an error that names it.

/// Declares [`Field`] and [`FIELDS`] together, so that an index and its row cannot part.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $container:literal, $member:literal;)*) => {
        /// A field; its number is its index in [`FIELDS`] and in the programs' `OFFSETS`.
        #[repr(usize)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Field { $($(#[$doc])* $name),* }

        /// Where each [`Field`] lives: kernel struct and member path.
        pub const FIELDS: &[FieldInfo] =
            &[$(FieldInfo { container: $container, member: $member }),*];
    };
}

/// A row of [`FIELDS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldInfo {
    /// Name of the struct.
    pub container: &'static str,
    /// Dotted path of members; anonymous structs and unions on the way are not named.
    pub member: &'static str,
}

fields! {
    /// `const struct path f_path` → its dentry.
    FileDentry = "file", "f_path.dentry";
    /// The inode that is really read and written.
    FileInode = "file", "f_inode";
    /// `FMODE_*`.
    FileMode = "file", "f_mode";
    /// `O_*`.
    FileFlags = "file", "f_flags";
    /// Mount of a path.
    PathMnt = "path", "mnt";
    /// Entry of a path.
    PathDentry = "path", "dentry";
    /// Directory entry above.
    DentryParent = "dentry", "d_parent";
    /// Inode, or NULL for an entry about to be made.
    DentryInode = "dentry", "d_inode";
    /// Pointer to the entry's name.
    DentryName = "dentry", "d_name.name";
    /// Super block of an entry.
    DentrySuper = "dentry", "d_sb";
    /// Inode number.
    InodeNumber = "inode", "i_ino";
    /// Super block of an inode.
    InodeSuper = "inode", "i_sb";
    /// Type and permission bits.
    InodeMode = "inode", "i_mode";
    /// Device number of a node.
    InodeRdev = "inode", "i_rdev";
    /// Device number of a super block.
    SuperDev = "super_block", "s_dev";
    /// Magic of a super block.
    SuperMagic = "super_block", "s_magic";
    /// `SB_*`.
    SuperFlags = "super_block", "s_flags";
    /// File system type.
    SuperType = "super_block", "s_type";
    /// Name of a file system type.
    TypeName = "file_system_type", "name";
    /// Super block of a mount.
    MountSuper = "vfsmount", "mnt_sb";
    /// `MNT_*`.
    MountFlags = "vfsmount", "mnt_flags";
    /// Address space of a task.
    TaskMm = "task_struct", "mm";
    /// `PF_*`.
    TaskFlags = "task_struct", "flags";
    /// Thread group id in the initial pid namespace.
    TaskTgid = "task_struct", "tgid";
    /// Objective credentials.
    TaskRealCred = "task_struct", "real_cred";
    /// Subjective credentials.
    TaskCred = "task_struct", "cred";
    /// User namespace of credentials.
    CredUserNs = "cred", "user_ns";
    /// `TS_*`, with `TS_COMPAT` for a 32-bit call.
    TaskStatus = "task_struct", "thread_info.status";
    /// Executable of an address space.
    MmExeFile = "mm_struct", "exe_file";
    /// File that is about to be executed.
    BprmFile = "linux_binprm", "file";
    /// File of a mapping, or NULL.
    VmaFile = "vm_area_struct", "vm_file";
    /// `VM_*`.
    VmaFlags = "vm_area_struct", "vm_flags";
    /// Nesting of a user namespace; 0 is the initial one.
    UserNsLevel = "user_namespace", "level";
    /// VFS part of a procfs inode.
    ProcInodeVfs = "proc_inode", "vfs_inode";
    /// Process that a procfs inode shows.
    ProcInodePid = "proc_inode", "pid";
    /// Its numbers, that of the initial pid namespace first.
    PidNumbers = "pid", "numbers";
    /// Number in one pid namespace.
    UpidNumber = "upid", "nr";
    /// System call number at entry (x86-64).
    RegsSyscall = "pt_regs", "orig_ax";
    /// Namespaces of a task.
    TaskNsproxy = "task_struct", "nsproxy";
    /// IPC namespace among them.
    NsproxyIpc = "nsproxy", "ipc_ns";
    /// Number of an IPC namespace.
    IpcNsNumber = "ipc_namespace", "ns.inum";
    /// What tells an inode from another that had its number.
    InodeGeneration = "inode", "i_generation";
    /// `ATTR_*`: which attributes are to be set.
    AttrValid = "iattr", "ia_valid";
    /// What a file system keeps of itself: for message queues their IPC namespace.
    SuperInfo = "super_block", "s_fs_info";
    /// Block device below a super block, or NULL.
    SuperBdev = "super_block", "s_bdev";
    /// Root of a super block.
    SuperRoot = "super_block", "s_root";
    /// Root of a mount.
    MountRoot = "vfsmount", "mnt_root";
    /// The part of a mount that hooks see.
    MountVfs = "mount", "mnt";
    /// Its peer group; 0 where it is not shared.
    MountGroup = "mount", "mnt_group_id";
    /// The mount that it is attached to.
    MountParent = "mount", "mnt_parent";
    /// The namespace that it is attached in.
    MountNamespace = "mount", "mnt_ns";
    /// Mount namespace.
    NamespacesMount = "nsproxy", "mnt_ns";
    /// Type of the file system that is being mounted.
    ContextType = "fs_context", "fs_type";
    /// Name of a mount parameter.
    ParameterKey = "fs_parameter", "key";
    /// Its value, where that is a string.
    ParameterString = "fs_parameter", "string";
    /// Second argument of a system call (x86-64).
    RegsSecond = "pt_regs", "si";
    /// Third argument of a system call (x86-64).
    RegsThird = "pt_regs", "dx";
    /// Protocol part of a socket.
    SocketSock = "socket", "sk";
    /// Its open file; NULL for the kernel's own sockets.
    SocketFile = "socket", "file";
    /// Address family.
    SockFamily = "sock", "__sk_common.skc_family";
    /// `SOCK_STREAM` and its like.
    SockType = "sock", "sk_type";
    /// Protocol of the family.
    SockProtocol = "sock", "sk_protocol";
    /// Network namespace of a socket.
    SockNet = "sock", "__sk_common.skc_net.net";
    /// Port of this side, in host byte order.
    SockPort = "sock", "__sk_common.skc_num";
    /// IPv4 address of this side.
    SockV4 = "sock", "__sk_common.skc_rcv_saddr";
    /// IPv6 address of this side.
    SockV6 = "sock", "__sk_common.skc_v6_rcv_saddr";
    /// Entry of a unix socket in a file system.
    UnixDentry = "unix_sock", "path.dentry";
    /// Name of a unix socket.
    UnixAddress = "unix_sock", "addr";
    /// Length of a unix socket's name, family included.
    UnixLength = "unix_address", "len";
    /// The name.
    UnixName = "unix_address", "name";
    /// Address that a message is for.
    MessageName = "msghdr", "msg_name";
    /// Its length.
    MessageNameLength = "msghdr", "msg_namelen";
    /// `MSG_*`.
    MessageFlags = "msghdr", "msg_flags";
    /// Control messages.
    MessageControl = "msghdr", "msg_control";
    /// Their length.
    MessageControlLength = "msghdr", "msg_controllen";
    /// Network namespace among them.
    NamespacesNet = "nsproxy", "net_ns";
    /// Number of a network namespace.
    NetNumber = "net", "ns.inum";
    /// User namespace that a network namespace belongs to.
    NetUserNs = "net", "user_ns";
}

/// Fields there are.
pub const FIELD_COUNT: usize = FIELDS.len();

/// Offset that stands for "not resolved"; the loader never loads with one.
pub const UNRESOLVED: u32 = u32::MAX;
