//! Messages of D-Bus as bytes ("Message Protocol" of its specification, version 1).
//!
//! Numbers are aligned to their size, from the beginning of the message or of its body, which is
//! aligned itself. Calls are written in the byte order of this machine, which is that of systemd as
//! well; answers say which they have.

/// The part of a message that says how long it is.
pub(super) const HEAD: usize = 16;

/// Numbers of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A value that is sent.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cgroup::systemd) enum Value {
    /// `b`
    Bool(bool),
    /// `y`
    Byte(u8),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    Float(f64),
    /// `s`
    Text(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `as`
    Texts(Vec<String>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(sv)`
    Properties(Vec<(String, Value)>),
    /// `a(sa(sv))`: further units, of which there are none.
    NoUnits,
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::Byte(_) => "y",
            Self::I16(_) => "n",
            Self::U16(_) => "q",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::I64(_) => "x",
            Self::U64(_) => "t",
            Self::Float(_) => "d",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Texts(_) => "as",
            Self::Pairs(_) => "a(ss)",
            Self::Properties(_) => "a(sv)",
            Self::NoUnits => "a(sa(sv))",
        }
    }
}

/// Bytes that are aligned as they grow.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.number(length_of(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        // Signatures are our own, and short.
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// The length counts from behind the padding of the first element.
    fn array(&mut self, align: usize, write: impl FnOnce(&mut Self)) {
        self.number(0u32.to_ne_bytes());
        let length_at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        write(self);
        let length = length_of(self.0.len() - start);
        self.0[length_at..length_at + 4].copy_from_slice(&length);
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        self.value(value);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.number(u32::from(*value).to_ne_bytes()),
            Value::Byte(value) => self.number([*value]),
            Value::I16(value) => self.number(value.to_ne_bytes()),
            Value::U16(value) => self.number(value.to_ne_bytes()),
            Value::I32(value) => self.number(value.to_ne_bytes()),
            Value::U32(value) => self.number(value.to_ne_bytes()),
            Value::I64(value) => self.number(value.to_ne_bytes()),
            Value::U64(value) => self.number(value.to_ne_bytes()),
            Value::Float(value) => self.number(value.to_ne_bytes()),
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.array(1, |to| to.0.extend(bytes)),
            Value::Numbers(numbers) => self.array(4, |to| {
                numbers
                    .iter()
                    .for_each(|number| to.number(number.to_ne_bytes()));
            }),
            Value::Texts(texts) => self.array(4, |to| texts.iter().for_each(|text| to.text(text))),
            Value::Pairs(pairs) => self.array(8, |to| {
                for (first, second) in pairs {
                    to.align(8);
                    to.text(first);
                    to.text(second);
                }
            }),
            Value::Properties(properties) => self.array(8, |to| {
                for (name, value) in properties {
                    to.align(8);
                    to.text(name);
                    to.variant(value);
                }
            }),
            Value::NoUnits => self.array(8, |_| {}),
        }
    }

    fn field(&mut self, code: u8, signature: &str, text: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(signature);
        match signature {
            "g" => self.signature(text),
            _ => self.text(text),
        }
    }
}

fn length_of(length: usize) -> [u8; 4] {
    // Configurations are read into memory as a whole: none is that long.
    u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes()
}

/// The call of a method.
pub(super) fn method_call(
    serial: u32,
    destination: Option<&str>,
    path: &str,
    interface: &str,
    member: &str,
    values: &[Value],
) -> Vec<u8> {
    let mut body = Writer::default();
    values.iter().for_each(|value| body.value(value));
    let mut all = Writer::default();
    let order = if cfg!(target_endian = "little") {
        b'l'
    } else {
        b'B'
    };
    // A call, without flags, of the first version of the protocol.
    all.0.extend([order, 1, 0, 1]);
    all.number(length_of(body.0.len()));
    all.number(serial.to_ne_bytes());
    all.array(8, |to| {
        to.field(PATH, "o", path);
        to.field(INTERFACE, "s", interface);
        to.field(MEMBER, "s", member);
        if let Some(destination) = destination {
            to.field(DESTINATION, "s", destination);
        }
        if !values.is_empty() {
            let signature: String = values.iter().map(Value::signature).collect();
            to.field(SIGNATURE, "g", &signature);
        }
    });
    all.align(8);
    all.0.extend(body.0);
    all.0
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) member: String,
    /// Name of an error.
    pub(super) error: String,
    pub(super) reply_to: u32,
    signature: String,
    body: Vec<u8>,
    big_endian: bool,
}

/// The length of a whole message by its [`HEAD`].
pub(super) fn length(head: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(head, *head.first()? == b'B');
    reader.at = 4;
    let body = reader.u32()? as usize;
    reader.at = 12;
    let fields = reader.u32()? as usize;
    let header = HEAD.checked_add(fields)?.checked_next_multiple_of(8)?;
    header.checked_add(body)
}

impl Message {
    /// A whole message; `None` if it is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let big_endian = match bytes.first()? {
            b'l' => false,
            b'B' => true,
            _ => return None,
        };
        let kind = match bytes.get(1)? {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return None,
        };
        let mut reader = Reader::new(bytes, big_endian);
        reader.at = 12;
        let end = HEAD.checked_add(reader.u32()? as usize)?;
        let mut message = Self {
            kind,
            member: String::new(),
            error: String::new(),
            reply_to: 0,
            signature: String::new(),
            body: bytes.get(end.checked_next_multiple_of(8)?..)?.to_owned(),
            big_endian,
        };
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            let signature = reader.signature()?;
            match (code, signature) {
                (MEMBER, "s") => message.member = reader.text()?.to_owned(),
                (ERROR_NAME, "s") => message.error = reader.text()?.to_owned(),
                (REPLY_SERIAL, "u") => message.reply_to = reader.u32()?,
                (SIGNATURE, "g") => message.signature = reader.signature()?.to_owned(),
                // The protocol asks that fields of later versions be passed over.
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.u32()?),
                _ => return None,
            }
        }
        Some(message)
    }

    /// The first value of the body, if it is text or a variant of it; empty if there is none.
    pub(super) fn text(&self) -> Option<String> {
        let mut reader = Reader::new(&self.body, self.big_endian);
        match self.signature.as_bytes().first() {
            None => Some(String::new()),
            Some(b's' | b'o') => reader.text().map(ToOwned::to_owned),
            Some(b'v') => match reader.signature()? {
                "s" | "o" => reader.text().map(ToOwned::to_owned),
                _ => None,
            },
            Some(_) => Some(String::new()),
        }
    }

    /// Which job ended, and how.
    pub(super) fn job_removed(&self) -> Option<(String, String)> {
        if self.signature != "uoss" {
            return None;
        }
        let mut reader = Reader::new(&self.body, self.big_endian);
        reader.u32()?;
        let job = reader.text()?.to_owned();
        reader.text()?;
        Some((job, reader.text()?.to_owned()))
    }
}

/// Bytes that are read in order; a read past the end is `None`.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], big_endian: bool) -> Self {
        Self {
            bytes,
            at: 0,
            big_endian,
        }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()?.into();
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}
