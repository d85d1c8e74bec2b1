//! Commands of `ioctl(2)`: which of them any holder of a descriptor may use, and the names that a
//! policy knows.
//!
//! A command is free if it only tells something about the open object, or changes something of the
//! caller's own descriptor or terminal. Numbers are those of x86-64 and of most other machines
//! (`include/uapi/asm-generic/ioctls.h`, `linux/fs.h` and the header of each driver).

/// Declares [`is_free`] and [`NAMES`] together.
macro_rules! ioctls {
    (free: $($free:ident = $free_number:literal),*;
     named: $($named:ident = $number:literal),*;) => {
        /// Whether every holder of a descriptor may use the command.
        #[inline(always)]
        pub const fn is_free(command: u32) -> bool {
            matches!(command, $($free_number)|*)
        }

        /// The names of the free commands.
        pub const FREE: &[&str] = &[$(stringify!($free)),*];

        /// The names that a policy may use instead of numbers.
        pub const NAMES: &[(&str, u32)] = &[$((stringify!($named), $number)),*];
    };
}

ioctls! {
    free:
    FIONREAD = 0x541b, FIOQSIZE = 0x5460, FIONBIO = 0x5421, FIOASYNC = 0x5452,
    FIOCLEX = 0x5451, FIONCLEX = 0x5450, FIGETBSZ = 2, FIBMAP = 1,
    FS_IOC_GETFLAGS = 0x8008_6601, FS_IOC32_GETFLAGS = 0x8004_6601,
    FS_IOC_GETVERSION = 0x8008_7601, FS_IOC_FSGETXATTR = 0x801c_581f,
    FS_IOC_FIEMAP = 0xc020_660b, FS_IOC_GETFSLABEL = 0x8100_9431,
    FS_IOC_MEASURE_VERITY = 0xc004_6686,
    BLKGETSIZE = 0x1260, BLKGETSIZE64 = 0x8008_1272, BLKSSZGET = 0x1268, BLKBSZGET = 0x8008_1270,
    BLKPBSZGET = 0x127b, BLKIOMIN = 0x1278, BLKIOOPT = 0x1279, BLKALIGNOFF = 0x127a,
    BLKROGET = 0x125e, BLKROTATIONAL = 0x127e, BLKDISCARDZEROES = 0x127c, BLKRAGET = 0x1263,
    BLKSECTGET = 0x1267, BLKGETZONESZ = 0x8004_1284, BLKGETNRZONES = 0x8004_1285,
    BLKGETDISKSEQ = 0x8008_1280, HDIO_GETGEO = 0x0301,
    TCGETS = 0x5401, TCSETS = 0x5402, TCSETSW = 0x5403, TCSETSF = 0x5404,
    TCGETA = 0x5405, TCSETA = 0x5406, TCSETAW = 0x5407, TCSETAF = 0x5408,
    TCSBRK = 0x5409, TCXONC = 0x540a, TCFLSH = 0x540b, TCSBRKP = 0x5425,
    TIOCSCTTY = 0x540e, TIOCNOTTY = 0x5422, TIOCGPGRP = 0x540f, TIOCSPGRP = 0x5410,
    TIOCOUTQ = 0x5411, TIOCGWINSZ = 0x5413, TIOCSWINSZ = 0x5414, TIOCGSID = 0x5429,
    TCGETS2 = 0x802c_542a, TCSETS2 = 0x402c_542b, TCSETSW2 = 0x402c_542c,
    TCSETSF2 = 0x402c_542d, TIOCGPTN = 0x8004_5430, TIOCGETD = 0x5424, TIOCMGET = 0x5415,
    TIOCGEXCL = 0x8004_5440, TIOCGPKT = 0x8004_5438, TIOCGPTLCK = 0x8004_5439,
    NS_GET_USERNS = 0xb701, NS_GET_PARENT = 0xb702, NS_GET_NSTYPE = 0xb703,
    NS_GET_OWNER_UID = 0xb704, RNDGETENTCNT = 0x8004_5200;
    named:
    FICLONE = 0x4004_9409, FICLONERANGE = 0x4020_940d, FIDEDUPERANGE = 0xc018_9436,
    FITRIM = 0xc018_5879, FIFREEZE = 0xc004_5877, FITHAW = 0xc004_5878,
    FS_IOC_RESVSP = 0x4030_5828, FS_IOC_RESVSP64 = 0x4030_582a, FS_IOC_UNRESVSP = 0x4030_5829,
    FS_IOC_UNRESVSP64 = 0x4030_582b, FS_IOC_ZERO_RANGE = 0x4030_5839,
    FS_IOC_ENABLE_VERITY = 0x4080_6685, FS_IOC_READ_VERITY_METADATA = 0xc028_6687,
    FS_IOC_SETVERSION = 0x4008_7602, FS_IOC_SETFSLABEL = 0x4100_9432,
    FS_IOC_SET_ENCRYPTION_POLICY = 0x800c_6613, FS_IOC_ADD_ENCRYPTION_KEY = 0xc050_6617,
    BLKROSET = 0x125d, BLKRRPART = 0x125f, BLKFLSBUF = 0x1261, BLKRASET = 0x1262,
    BLKPG = 0x1269, BLKBSZSET = 0x4008_1271, BLKDISCARD = 0x1277, BLKSECDISCARD = 0x127d,
    BLKZEROOUT = 0x127f, BLKREPORTZONE = 0xc010_1282, BLKRESETZONE = 0x4010_1283,
    BLKTRACESETUP = 0xc048_1273, SG_IO = 0x2285,
    LOOP_SET_FD = 0x4c00, LOOP_CLR_FD = 0x4c01, LOOP_SET_STATUS64 = 0x4c04,
    LOOP_GET_STATUS64 = 0x4c05, LOOP_CHANGE_FD = 0x4c06, LOOP_SET_CAPACITY = 0x4c07,
    LOOP_SET_DIRECT_IO = 0x4c08, LOOP_SET_BLOCK_SIZE = 0x4c09, LOOP_CONFIGURE = 0x4c0a,
    LOOP_CTL_ADD = 0x4c80, LOOP_CTL_REMOVE = 0x4c81, LOOP_CTL_GET_FREE = 0x4c82,
    NBD_SET_SOCK = 0xab00, NBD_SET_BLKSIZE = 0xab01, NBD_SET_SIZE = 0xab02, NBD_DO_IT = 0xab03,
    NBD_CLEAR_SOCK = 0xab04, NBD_CLEAR_QUE = 0xab05, NBD_SET_SIZE_BLOCKS = 0xab07,
    NBD_DISCONNECT = 0xab08, NBD_SET_TIMEOUT = 0xab09, NBD_SET_FLAGS = 0xab0a,
    DM_VERSION = 0xc138_fd00, DM_REMOVE_ALL = 0xc138_fd01, DM_LIST_DEVICES = 0xc138_fd02,
    DM_DEV_CREATE = 0xc138_fd03, DM_DEV_REMOVE = 0xc138_fd04, DM_DEV_RENAME = 0xc138_fd05,
    DM_DEV_SUSPEND = 0xc138_fd06, DM_DEV_STATUS = 0xc138_fd07, DM_DEV_WAIT = 0xc138_fd08,
    DM_TABLE_LOAD = 0xc138_fd09, DM_TABLE_CLEAR = 0xc138_fd0a, DM_TABLE_DEPS = 0xc138_fd0b,
    DM_TABLE_STATUS = 0xc138_fd0c, DM_LIST_VERSIONS = 0xc138_fd0d, DM_TARGET_MSG = 0xc138_fd0e,
    KVM_GET_API_VERSION = 0xae00, KVM_CREATE_VM = 0xae01, KVM_CHECK_EXTENSION = 0xae03,
    KVM_GET_VCPU_MMAP_SIZE = 0xae04, KVM_GET_SUPPORTED_CPUID = 0xc008_ae05,
    KVM_GET_MSR_INDEX_LIST = 0xc004_ae02, KVM_GET_MSR_FEATURE_INDEX_LIST = 0xc004_ae0a,
    TUNSETIFF = 0x4004_54ca, TUNGETFEATURES = 0x8004_54cf, TUNGETIFF = 0x8004_54d2,
    TUNSETOFFLOAD = 0x4004_54d0, TUNSETVNETHDRSZ = 0x4004_54d8, TUNSETPERSIST = 0x4004_54cb,
    TIOCSTI = 0x5412, TIOCLINUX = 0x541c, TIOCCONS = 0x541d, TIOCSETD = 0x5423,
    TIOCEXCL = 0x540c, TIOCNXCL = 0x540d, TIOCMSET = 0x5418, TIOCVHANGUP = 0x5437,
    EVIOCGVERSION = 0x8004_4501, EVIOCGID = 0x8008_4502, EVIOCGRAB = 0x4004_4590,
    WDIOC_KEEPALIVE = 0x8004_5705, RTC_RD_TIME = 0x8024_7009, RTC_SET_TIME = 0x4024_700a,
    VFIO_GET_API_VERSION = 0x3b64, VFIO_CHECK_EXTENSION = 0x3b65, VFIO_SET_IOMMU = 0x3b66;
}

/// `FS_IOC_SETFLAGS`, `FS_IOC32_SETFLAGS` and `FS_IOC_FSSETXATTR`: the right
/// [`crate::Rights::FLAGS`].
#[inline(always)]
pub const fn sets_flags(command: u32) -> bool {
    matches!(command, 0x4008_6602 | 0x4004_6602 | 0x401c_5820)
}

/// The command of a name.
pub fn from_name(name: &str) -> Option<u32> {
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// The name of a command.
pub fn name(command: u32) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(_, number)| *number == command)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_name_is_not_free_and_has_one_number() {
        for (at, (name, number)) in NAMES.iter().enumerate() {
            assert!(!is_free(*number), "{name}");
            assert!(!sets_flags(*number), "{name}");
            assert_eq!(from_name(name), Some(*number));
            assert!(!FREE.contains(name), "{name}");
            let again = NAMES[at + 1..].iter().find(|(_, other)| other == number);
            assert_eq!(again, None, "{name}");
        }
        assert!(is_free(0x5401) && !is_free(0x5412));
    }
}
