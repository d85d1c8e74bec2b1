//! How bytes are protected: digests of everything, encryption if there is a key.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::corrupt;
use crate::disk::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"RVBACKUP";
const VERSION: u32 = 1;
const HEADER: usize = 12;
const DIGEST: usize = 32;
/// Bytes of a digest.
pub(super) const DIGEST_BYTES: usize = DIGEST;
const NONCE: usize = 24;

/// A name made of content.
pub(super) type Digest = [u8; DIGEST];

/// The secret of an encrypted repository.
#[derive(Clone)]
pub struct Key {
    hash: [u8; 32],
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// Derives the keys of a repository from 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        let cipher = blake3::derive_key("vmstorage backup 1 encryption", secret);
        Self {
            hash: blake3::derive_key("vmstorage backup 1 names", secret),
            cipher: XChaCha20Poly1305::new(&cipher.into()),
        }
    }

    /// Reads a file of exactly 32 bytes.
    ///
    /// # Errors
    /// When it is not such a file.
    pub fn from_file(path: &Path) -> Result<Self> {
        let shown = path.display();
        let mut bytes = Vec::new();
        // One byte more than a key has: what is longer is none, however long it is.
        let read = File::open(path).and_then(|file| file.take(33).read_to_end(&mut bytes));
        read.map_err(|error| {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let error = Error::io(format!("read `{shown}`"), error);
            match missing {
                true => error.context(format!(
                    "the key is not there; help: `head -c 32 /dev/urandom > {shown}` makes one for \
                     a new repository"
                )),
                false => error,
            }
        })?;
        let len = bytes.len();
        let secret = <[u8; 32]>::try_from(bytes).map_err(|_| {
            let than = if len < 32 { "fewer" } else { "more" };
            let message = format!("`{shown}` is no key: it has {than} than 32 bytes");
            Error::new(ErrorKind::Unsupported, message)
        })?;
        Ok(Self::new(&secret))
    }
}

/// The digest that names `data`; nobody without the key can tell what it is of.
pub(super) fn digest(key: Option<&Key>, data: &[u8]) -> Digest {
    match key {
        Some(key) => *blake3::keyed_hash(&key.hash, data).as_bytes(),
        None => *blake3::hash(data).as_bytes(),
    }
}

/// Encrypts, bound to `context`; without a key the bytes stay as they are.
pub(super) fn seal(key: Option<&Key>, context: &[u8], data: Vec<u8>) -> Result<Vec<u8>> {
    let Some(key) = key else { return Ok(data) };
    let nonce: [u8; NONCE] = rand::random();
    let payload = Payload {
        msg: &data,
        aad: context,
    };
    let sealed = key.cipher.encrypt(XNonce::from_slice(&nonce), payload);
    // Maps of points are large: no third copy of one.
    drop(data);
    let sealed = sealed.map_err(|_| Error::new(ErrorKind::Io, "the data cannot be encrypted"))?;
    Ok([&nonce[..], &sealed].concat())
}

/// Takes off what [`seal`] put on; `None` if the bytes are not what was sealed.
pub(super) fn unseal(key: Option<&Key>, context: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let Some(key) = key else {
        return Some(data.to_vec());
    };
    let (nonce, msg) = data.split_at_checked(NONCE)?;
    let payload = Payload { msg, aad: context };
    key.cipher.decrypt(XNonce::from_slice(nonce), payload).ok()
}

/// An object of metadata: magic, version, body (sealed), and a digest of these and the name.
pub(super) fn wrap(key: Option<&Key>, name: &str, body: Vec<u8>) -> Result<Vec<u8>> {
    let mut object = MAGIC.to_vec();
    object.extend(VERSION.to_le_bytes());
    object.extend(seal(key, name.as_bytes(), body)?);
    let sum = sum(name, &object);
    object.extend(sum);
    Ok(object)
}

/// The body of an object of metadata.
pub(super) fn unwrap(key: Option<&Key>, name: &str, object: &[u8]) -> Result<Vec<u8>> {
    let (content, found) = object
        .len()
        .checked_sub(DIGEST)
        .filter(|len| *len >= HEADER)
        .map(|len| object.split_at(len))
        .ok_or_else(|| corrupt(name, "it is too short"))?;
    if sum(name, content) != *found {
        return Err(corrupt(
            name,
            "its digest is wrong: it was damaged, or is another's",
        ));
    }
    if content[..8] != MAGIC[..] {
        return Err(corrupt(name, "it does not belong to a backup repository"));
    }
    if content[8..HEADER] != VERSION.to_le_bytes() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("backup object `{name}`: its version is not {VERSION}"),
        ));
    }
    unseal(key, name.as_bytes(), &content[HEADER..])
        .ok_or_else(|| corrupt(name, "the key is not the one it was encrypted with"))
}

fn sum(name: &str, content: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes()).update(&[0]).update(content);
    *hasher.finalize().as_bytes()
}
