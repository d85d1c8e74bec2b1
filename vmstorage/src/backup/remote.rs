//! A repository in a bucket: S3, or what speaks its protocol.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};
use object_store::path::Path;
use object_store::{ClientConfigKey, MultipartUpload as _, ObjectMeta, ObjectStore, RetryConfig};
use object_store::{Error as Failure, ObjectStoreExt as _};

use super::lock;
use super::store::{Guard, Store};
use crate::disk::{Error, ErrorKind, Result};

/// The most bytes of one request: what is longer is moved in parts of this length.
const PART_BYTES: usize = 32 << 20;
/// How long one request may take: 110 KB/s are enough.
const TIMEOUT: &str = "300s";
/// Where credentials come from, if not from the keys.
const OTHER_CREDENTIALS: [Key; 4] = [
    Key::WebIdentityTokenFile,
    Key::ContainerCredentialsRelativeUri,
    Key::ContainerCredentialsFullUri,
    Key::MetadataEndpoint,
];

/// A bucket, or a part of one.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    inner: Arc<dyn ObjectStore>,
    prefix: String,
    /// What may help when a request fails for no reason that is known better.
    hint: &'static str,
    runtime: Arc<tokio::runtime::Runtime>,
}

impl Remote {
    /// Takes `BUCKET/PREFIX`, and the rest from the environment; asks the bucket nothing.
    ///
    /// # Errors
    /// When a variable is missing or wrong.
    pub(super) fn open(place: &str) -> Result<Self> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_config(Key::Client(ClientConfigKey::Timeout), TIMEOUT)
            .with_retry(retries(std::env::var("AWS_MAX_ATTEMPTS").ok())?);
        let hint = check(&builder)?;
        let inner = builder.build().map_err(|error| {
            let message = format!("the `AWS_…` variables are not complete or wrong: {error}");
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Error::io("start the threads of the object store", error))?;
        Ok(Self {
            inner: Arc::new(inner),
            prefix: prefix.trim_end_matches('/').into(),
            hint,
            runtime: Arc::new(runtime),
        })
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    fn failed(&self, name: &str, error: &Failure) -> Error {
        let kind = match error {
            Failure::PermissionDenied { .. } => ErrorKind::ReadOnly,
            _ => ErrorKind::Io,
        };
        let help = match error {
            Failure::PermissionDenied { .. } | Failure::Unauthenticated { .. } => {
                "; help: check `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_REGION`, and \
                 that they may list, read, write and delete in the bucket"
            }
            Failure::NotFound { .. } => "; help: check that the bucket is there",
            _ => self.hint,
        };
        // An answer is XML of several lines, or nothing, which leaves a colon at the end.
        let error = error.to_string();
        let words: Vec<&str> = error.split_whitespace().collect();
        let error = words.join(" ");
        let error = error.trim_end_matches([':', ' ']);
        Error::new(kind, format!("backup object `{name}`: {error}{help}"))
    }

    async fn put_parts(&self, path: &Path, data: &[u8]) -> object_store::Result<()> {
        let mut upload = self.inner.put_multipart(path).await?;
        for part in data.chunks(PART_BYTES) {
            if let Err(error) = upload.put_part(part.to_vec().into()).await {
                // Parts that stay are not an object; the first error tells more.
                let _ = upload.abort().await;
                return Err(error);
            }
        }
        upload.complete().await.map(drop)
    }
}

/// How often a request is tried: the variable of Amazon's own programs, or 11 times.
fn retries(attempts: Option<String>) -> Result<RetryConfig> {
    let mut retries = RetryConfig::default();
    if let Some(text) = attempts.filter(|text| !text.is_empty()) {
        let attempts = text.parse::<usize>().ok().filter(|number| *number > 0);
        let attempts = attempts.ok_or_else(|| {
            let message = format!("`AWS_MAX_ATTEMPTS` is `{text}`; help: set it to 1 or more");
            Error::new(ErrorKind::Unsupported, message)
        })?;
        retries.max_retries = attempts - 1;
    }
    Ok(retries)
}

/// What is not right in the environment, said before a request fails for it; what to add to
/// errors of requests.
fn check(builder: &AmazonS3Builder) -> Result<&'static str> {
    let unsupported = |message: String| Err(Error::new(ErrorKind::Unsupported, message));
    let value = |key: Key| {
        builder
            .get_config_value(&key)
            .filter(|text| !text.is_empty())
    };
    let endpoint = value(Key::S3Endpoint).or_else(|| value(Key::Endpoint));
    let http = endpoint.as_ref().filter(|url| url.starts_with("http://"));
    let switched_on = |key: Key| {
        let text = value(key).map(|text| text.to_ascii_lowercase());
        text.is_some_and(|text| ["1", "true", "on", "yes", "y"].contains(&text.as_str()))
    };
    let allowed = switched_on(Key::Client(ClientConfigKey::AllowHttp));
    if let Some(url) = http.filter(|_| !allowed) {
        return unsupported(format!(
            "`{url}` is not encrypted; help: use https, or set `AWS_ALLOW_HTTP=true` where nobody \
             else listens"
        ));
    }
    let mut sources = OTHER_CREDENTIALS.into_iter().chain([Key::AccessKeyId]);
    if switched_on(Key::SkipSignature) || sources.any(|key| value(key).is_some()) {
        return Ok("");
    }
    // Only machines of Amazon have a service that hands out credentials.
    if let Some(url) = endpoint {
        return unsupported(format!(
            "there are no credentials for `{url}`; help: set `AWS_ACCESS_KEY_ID` and \
             `AWS_SECRET_ACCESS_KEY`"
        ));
    }
    Ok("; help: `AWS_ACCESS_KEY_ID` is not set, so this has to be a machine with a role in AWS")
}

impl Store for Remote {
    fn put(&self, name: &str, data: &[u8]) -> Result<()> {
        let path = self.path(name);
        let done = if data.len() > PART_BYTES {
            self.runtime.block_on(self.put_parts(&path, data))
        } else {
            let put = self.inner.put(&path, data.to_vec().into());
            self.runtime.block_on(put).map(drop)
        };
        done.map_err(|error| self.failed(name, &error))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        match self.runtime.block_on(self.inner.head(&self.path(name))) {
            Ok(_) => Ok(true),
            Err(Failure::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    fn len_bytes(&self, name: &str) -> Result<u64> {
        let meta = self.runtime.block_on(self.inner.head(&self.path(name)));
        Ok(meta.map_err(|error| self.failed(name, &error))?.size)
    }

    fn read(&self, name: &str, offset_bytes: u64, len: usize) -> Result<Vec<u8>> {
        let path = self.path(name);
        let mut data = Vec::new();
        while data.len() < len {
            let part = (len - data.len()).min(PART_BYTES);
            let from = offset_bytes.saturating_add(data.len() as u64);
            let range = from..from.saturating_add(part as u64);
            let read = self.runtime.block_on(self.inner.get_range(&path, range));
            let read = read.map_err(|error| self.failed(name, &error))?;
            if read.len() != part {
                return Err(super::corrupt(name, "it is shorter than it should be"));
            }
            data.extend_from_slice(&read);
        }
        Ok(data)
    }

    fn entries(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let path = self.path(folder);
        let all = self
            .runtime
            .block_on(self.inner.list(Some(&path)).try_collect::<Vec<_>>());
        let all = all.map_err(|error| self.failed(folder, &error))?;
        let name = |meta: &ObjectMeta| {
            let file = meta.location.filename()?;
            Some((format!("{folder}/{file}"), meta.size))
        };
        let mut names: Vec<_> = all.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<()> {
        match self.runtime.block_on(self.inner.delete(&self.path(name))) {
            Ok(()) | Err(Failure::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn Guard>> {
        lock::lock(self, exclusive)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn in_memory(prefix: &str) -> Remote {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        Remote {
            inner: Arc::new(object_store::memory::InMemory::new()),
            prefix: prefix.into(),
            hint: "",
            runtime: Arc::new({ runtime }.worker_threads(1).build().unwrap()),
        }
    }

    #[test]
    fn long_objects_are_moved_in_parts() {
        let store = in_memory("some/where");
        let mut data = vec![0; PART_BYTES * 2 + 77];
        StdRng::seed_from_u64(1).fill(&mut data[..]);
        store.put("packs/long", &data).unwrap();
        store.put("packs/short", &data[..9]).unwrap();
        assert!(store.read("packs/long", 0, data.len()).unwrap() == data);
        assert!(store.read("packs/long", 5, PART_BYTES + 1).unwrap() == data[5..PART_BYTES + 6]);
        store.read("packs/short", 3, PART_BYTES + 1).unwrap_err();
        let long = ("packs/long".to_owned(), data.len() as u64);
        let short = ("packs/short".to_owned(), 9);
        assert_eq!(store.entries("packs").unwrap(), [long, short]);
        assert_eq!(store.len_bytes("packs/long").unwrap(), data.len() as u64);
        store.delete("packs/long").unwrap();
        store.delete("packs/long").unwrap();
        assert!(!store.exists("packs/long").unwrap() && store.exists("packs/short").unwrap());
    }

    #[test]
    fn attempts_are_a_number() {
        let retries = |text: &str| retries(Some(text.into())).map(|config| config.max_retries);
        assert_eq!(retries("1").unwrap(), 0);
        assert_eq!(retries("").unwrap(), RetryConfig::default().max_retries);
        for wrong in ["0", "-1", "many"] {
            assert!(retries(wrong).unwrap_err().to_string().contains(wrong));
        }
    }

    #[test]
    fn locks_of_a_bucket_exclude() {
        let store = in_memory("");
        let one = store.lock(false).unwrap();
        let other = store.lock(false).unwrap();
        let refused = store.lock(true).err().unwrap().to_string();
        assert!(
            refused.contains("-shared") && refused.contains("help:"),
            "{refused}"
        );
        let found = lock::locks(&store).unwrap();
        assert_eq!(found.len(), 2);
        for lock in &found {
            assert!(!lock.exclusive && lock.owner.process == std::process::id());
        }
        // What another wrote there is shown without what a terminal would obey.
        let forged = br#"{"host":"\u001b[2Jh","process":7}"#;
        store.put("locks/forged-shared", forged).unwrap();
        let all = lock::locks(&store).unwrap();
        let owner = |name: &str| all.iter().find(|lock| lock.name.ends_with(name)).cloned();
        assert_eq!(owner("forged-shared").unwrap().owner.host, "[2Jh");
        store.delete("locks/forged-shared").unwrap();
        // A name is taken with its folder and without.
        lock::unlock(&store, &found[0].name).unwrap();
        let bare = found[1].name.strip_prefix("locks/").unwrap();
        lock::unlock(&store, bare).unwrap();
        let gone = lock::unlock(&store, bare).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        drop((one, other));
        let alone = store.lock(true).unwrap();
        assert!(store.lock(true).is_err() && store.lock(false).is_err());
        drop(alone);
        assert_eq!(store.list("locks").unwrap(), Vec::<String>::new());
    }
}
