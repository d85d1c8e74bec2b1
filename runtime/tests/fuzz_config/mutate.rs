//! How inputs are made of others.

use serde_json::{Map, Value, json};

use crate::MANY;

/// `xorshift64*`: what it gives depends on its seed alone.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    pub(crate) fn one_of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

/// The pointers (RFC 6901) of every value in a configuration.
pub(crate) fn pointers(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &mut String, all: &mut Vec<String>) {
        all.push(at.clone());
        let mut below = |name: &str, value: &Value| {
            let length = at.len();
            *at += &format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            walk(value, at, all);
            at.truncate(length);
        };
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| below(name, value)),
            Value::Array(list) => {
                // Of many elements the first are as good as any.
                let list = list.iter().take(50).enumerate();
                list.for_each(|(at, value)| below(&at.to_string(), value));
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    walk(value, &mut String::new(), &mut all);
    all
}

/// A value that code is likely to be wrong about.
fn odd_value(random: &mut Random) -> Value {
    let texts = [
        "",
        "\0",
        "a\0b",
        ".",
        "..",
        "/",
        "//",
        "/..",
        "../../x",
        "/a/../b",
        "/proc/self/fd/7",
        "a:b:c",
        ":::",
        "-.slice:x:y",
        "=",
        "A=",
        "=b",
        "\u{202e}\u{feff}",
        "0",
        "-1",
        "0-",
        "9-0",
        "0-4294967295",
        "0-18446744073709551615",
        "max",
        "rbind",
        "remount",
        "bind",
        "ro",
        "size=1m",
        "idmap=uids=0-0-1;gids=0-0-1",
        "CAP_SYS_ADMIN",
        "SCMP_ACT_NOTIFY",
        "user",
        "/sys/fs/cgroup",
        "kernel.domainname",
        "9223372036854775808",
    ];
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(*random.one_of(&[
            0_i64,
            1,
            -1,
            7,
            4095,
            4096,
            65535,
            65536,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            i64::from(u32::MAX),
            i64::from(u32::MAX) + 1,
            i64::MAX,
            i64::MIN,
        ])),
        3 => json!(*random.one_of(&[u64::MAX, u64::MAX - 1, 1 << 63])),
        4 => json!(*random.one_of(&[0.5, -0.0, 1e308, 4e-324, 1e19])),
        5 => json!("x".repeat(*random.one_of(&[255, 256, 4096, 65536, MANY]))),
        6 => {
            let levels = *random.one_of(&[1, 5, 100, 126, 127, 128, 200]);
            (0..levels).fold(json!([]), |inner, _| json!([inner]))
        }
        7 => json!({}),
        _ => json!(*random.one_of(&texts)),
    }
}

/// Changes the structure of a configuration.
pub(crate) fn change(config: &mut Value, other: &Value, random: &mut Random) {
    let all = pointers(config);
    let place = random.one_of(&all).clone();
    let value = match random.below(8) {
        0..3 => odd_value(random),
        // What another configuration has in another place, or in the same.
        3 => {
            let there = pointers(other);
            other
                .pointer(random.one_of::<String>(&there))
                .unwrap()
                .clone()
        }
        4 => other.pointer(&place).cloned().unwrap_or_default(),
        _ => return change_parts(config.pointer_mut(&place).unwrap(), random),
    };
    *config.pointer_mut(&place).unwrap() = value;
}

fn change_parts(place: &mut Value, random: &mut Random) {
    match place {
        Value::Array(list) if list.is_empty() => list.push(odd_value(random)),
        Value::Array(list) => {
            let at = random.below(list.len());
            match random.below(4) {
                0 => drop(list.remove(at)),
                1 => list.push(odd_value(random)),
                2 => list.insert(at, list[at].clone()),
                _ => {
                    let length = list[at].to_string().len();
                    let count = *random.one_of(&[2, 10, 1000, MANY]);
                    let count = count.min((1 << 20) / length);
                    list.extend(std::iter::repeat_n(list[at].clone(), count));
                }
            }
        }
        Value::Object(map) => change_keys(map, random),
        Value::String(text) => {
            let with = *random.one_of(&["\0", "/", "..", ":", "=", ",", "-", "0", "x", " "]);
            let at = text
                .char_indices()
                .map(|(at, _)| at)
                .nth(random.below(text.len() + 1));
            text.insert_str(at.unwrap_or(text.len()), with);
        }
        other => *other = odd_value(random),
    }
}

fn change_keys(map: &mut Map<String, Value>, random: &mut Random) {
    let names: Vec<String> = map.keys().cloned().collect();
    if names.is_empty() || random.below(4) == 0 {
        map.insert("unknown".repeat(random.below(9)), odd_value(random));
        return;
    }
    let name = random.one_of(&names);
    match random.below(3) {
        0 => drop(map.remove(name)),
        1 => drop(map.insert(name.clone(), odd_value(random))),
        _ => {
            let other = random.one_of(&names).clone();
            let value = map[name].clone();
            map.insert(other, value);
        }
    }
}

/// Changes the bytes of a text.
pub(crate) fn spoil(text: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(text.len() + 1);
    let end = (at + random.below(40)).min(text.len());
    match random.below(8) {
        0 => text.truncate(at),
        1 => drop(text.drain(at..end)),
        2 => {
            let copy = text[at..end].to_vec();
            text.splice(at..at, copy);
        }
        3 => {
            let byte = u8::try_from(random.below(256)).unwrap();
            text.insert(at, byte);
        }
        4 => {
            if let Some(byte) = text.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        5 => {
            let open: &[u8] = random.one_of::<&[u8]>(&[&b"["[..], b"{\"a\":", b"[{\"a\":"]);
            text.splice(at..at, open.repeat(*random.one_of(&[1, 127, 129, MANY])));
        }
        // A key that is there already.
        6 => {
            let objects: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'{').collect();
            if !objects.is_empty() {
                let keys = [
                    "ociVersion",
                    "process",
                    "linux",
                    "root",
                    "path",
                    "type",
                    "uid",
                ];
                let entry = format!(
                    "\"{}\":{},",
                    random.one_of::<&str>(&keys),
                    odd_value(random)
                );
                let at = random.one_of(&objects) + 1;
                text.splice(at..at, entry.bytes());
            }
        }
        _ => {
            let number =
                random.one_of::<&str>(&["1e400", "-0", "00", "1e-400", "99999999999999999999999"]);
            text.splice(at..end, number.bytes());
        }
    }
}
