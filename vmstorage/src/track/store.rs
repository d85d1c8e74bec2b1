//! Reference points by name, in a small file beside the map.

use std::fs::{self, File};
use std::io::{ErrorKind as IoKind, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::point::{RefPoint, check_name};
use crate::disk::{Error, ErrorKind, Result};
use crate::engine::unblock;
use crate::held::wait_while_held;

const VERSION: u32 = 1;
/// Largest file that is read: some 200,000 points.
const MAX_BYTES: u64 = 64 << 20;

/// The file's content, JSON. An export has the same form.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    points: Vec<RefPoint>,
}

/// The reference points of a disk.
///
/// A change is in the file, durably, before it is seen in memory: the whole file is written beside
/// the old one and takes its place.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    points: Vec<RefPoint>,
}

/// What a change of the file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Write,
    Sync,
    Rename,
    SyncFolder,
}

impl Store {
    /// Reads the points in the file; without a file there are none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or of another version.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let points = match fs::metadata(&path) {
            Err(error) if error.kind() == IoKind::NotFound => Vec::new(),
            Err(error) => return Err(io("stat", &path, error)),
            Ok(meta) if meta.len() > MAX_BYTES => {
                return Err(Error::corrupt(format!("`{}` is too large", path.display())));
            }
            Ok(_) => {
                let text = fs::read(&path).map_err(|error| io("read", &path, error))?;
                parse(&text).map_err(|error| error.context(format!("`{}`", path.display())))?
            }
        };
        Ok(Self { path, points })
    }

    /// All points, oldest first.
    pub fn points(&self) -> &[RefPoint] {
        &self.points
    }

    /// The point of this name or id.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none.
    pub fn find(&self, name: &str) -> Result<&RefPoint> {
        let by_id = |point: &&RefPoint| point.id.to_string() == name;
        let found = self.points.iter().find(|point| point.name == name);
        found.or_else(|| self.points.iter().find(by_id)).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!(
                    "there is no reference point `{}`\nhelp: `vmstorage refpoint list` shows them",
                    name.escape_default()
                ),
            )
        })
    }

    /// Refuses a name that is taken or cannot be one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub fn check_free(&self, name: &str) -> Result<()> {
        check_name(name)?;
        if self.points.iter().any(|point| point.name == name) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the name `{name}` is taken\nhelp: choose another, or delete that point"),
            ));
        }
        Ok(())
    }

    /// Adds points, all or none.
    ///
    /// # Errors
    /// When a name is taken, or the file cannot be written: then the points are as before.
    pub fn add(&mut self, points: Vec<RefPoint>) -> Result<()> {
        let mut all = self.points.clone();
        for point in points {
            self.check_free(&point.name)?;
            if all
                .iter()
                .any(|known| known.name == point.name || known.id == point.id)
            {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the point `{}` ({}) is there already", point.name, point.id),
                ));
            }
            all.push(point);
        }
        self.replace(all)
    }

    /// Removes a point.
    ///
    /// # Errors
    /// When there is none, or the file cannot be written.
    pub fn remove(&mut self, name: &str) -> Result<RefPoint> {
        let gone = self.find(name)?.clone();
        let mut all = self.points.clone();
        all.retain(|point| point.id != gone.id);
        self.replace(all)?;
        Ok(gone)
    }

    fn replace(&mut self, points: Vec<RefPoint>) -> Result<()> {
        replace_file(&self.path, &render(&points)?, |_| Ok(()))?;
        self.points = points;
        Ok(())
    }
}

/// The text of an export.
///
/// # Errors
/// None that a caller could cause.
pub(super) fn render(points: &[RefPoint]) -> Result<Vec<u8>> {
    let content = Content {
        version: VERSION,
        points: points.to_vec(),
    };
    let mut text = serde_json::to_vec_pretty(&content)
        .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

/// The points of a store or an export.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it is neither, or a point is damaged.
pub(super) fn parse(text: &[u8]) -> Result<Vec<RefPoint>> {
    let content: Content = serde_json::from_slice(text)
        .map_err(|error| Error::corrupt(format!("these are no reference points: {error}")))?;
    if content.version != VERSION {
        return Err(Error::corrupt(format!(
            "reference points of version {}, and this program reads {VERSION}",
            content.version
        )));
    }
    for (at, point) in content.points.iter().enumerate() {
        point.check()?;
        if content.points[..at]
            .iter()
            .any(|known| known.name == point.name)
        {
            return Err(Error::corrupt(format!(
                "the name `{}` is there twice",
                point.name
            )));
        }
    }
    Ok(content.points)
}

/// Puts a new file in the place of an old one, durably. `step` is called before each step and can
/// end it there, as a kill would.
pub(super) fn replace_file(
    path: &Path,
    text: &[u8],
    mut step: impl FnMut(Step) -> Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    step(Step::Create)?;
    let mut file = File::create(&new).map_err(|error| io("open", &new, error))?;
    step(Step::Write)?;
    file.write_all(text)
        .map_err(|error| io("write", &new, error))?;
    step(Step::Sync)?;
    file.sync_all().map_err(|error| io("fsync", &new, error))?;
    step(Step::Rename)?;
    fs::rename(&new, path).map_err(|error| io("rename", &new, error))?;
    step(Step::SyncFolder)?;
    let opened = File::open(folder).map_err(|error| io("open", folder, error))?;
    opened
        .sync_all()
        .map_err(|error| io("fsync", folder, error))
}

/// Takes the map for this process until the file that is returned is closed; a process that was
/// killed is waited for.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when another process has it.
pub async fn lock_map(file: File, path: &Path) -> Result<File> {
    let (file, locked) = unblock(move || {
        let lock = || flock(&file, FlockOperation::NonBlockingLockExclusive);
        let locked = wait_while_held(lock, |&error| error == Errno::WOULDBLOCK);
        (file, locked)
    })
    .await;
    match locked {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "`{}` is in use: its disk is being served\nhelp: ask the server at its control \
                 socket, or stop it",
                path.display()
            ),
        )),
        Err(error) => Err(io("flock", path, error.into())),
    }
}

pub(super) fn io(call: &str, path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("{call}({})", path.display()), error)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::track::Point;

    fn point(name: &str, epoch: u32) -> RefPoint {
        let point = Point {
            disk_id: Uuid::from_u128(1),
            generation: Uuid::from_u128(2),
            session: Uuid::from_u128(3),
            epoch,
            size_bytes: 1 << 30,
            block_bytes: 65536,
        };
        RefPoint::new(name, point)
    }

    #[test]
    fn points_are_kept_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.reeve-points");
        let mut store = Store::load(&path).unwrap();
        store.add(vec![point("one", 1), point("two", 2)]).unwrap();
        store.add(vec![point("two", 3)]).unwrap_err();
        store.add(vec![point("a/b", 3)]).unwrap_err();
        store
            .add(vec![point("three", 3), point("three", 3)])
            .unwrap_err();
        let mut again = Store::load(&path).unwrap();
        assert_eq!(again.points(), store.points());
        let id = again.find("one").unwrap().id.to_string();
        assert_eq!(again.remove(&id).unwrap().name, "one");
        assert!(
            again
                .find("one")
                .unwrap_err()
                .to_string()
                .contains("no reference point")
        );
        assert_eq!(Store::load(&path).unwrap().points().len(), 1);
    }

    #[test]
    fn a_kill_at_every_step_leaves_the_old_points_or_the_new_ones() {
        let steps = [
            Step::Create,
            Step::Write,
            Step::Sync,
            Step::Rename,
            Step::SyncFolder,
        ];
        for last in steps {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("points");
            Store::load(&path)
                .unwrap()
                .add(vec![point("old", 1)])
                .unwrap();
            let text = render(&[point("old", 1), point("new", 2)]).unwrap();
            let killed = |step| {
                if step == last {
                    return Err(Error::new(ErrorKind::Io, "killed"));
                }
                Ok(())
            };
            replace_file(&path, &text, killed).unwrap_err();
            let mut store = Store::load(&path).unwrap();
            let expected = if last == Step::SyncFolder { 2 } else { 1 };
            assert_eq!(store.points().len(), expected, "killed before {last:?}");
            store.add(vec![point("later", 3)]).unwrap();
            assert_eq!(Store::load(&path).unwrap().points().len(), expected + 1);
        }
    }

    #[test]
    fn a_damaged_store_is_refused() {
        let text = render(&[point("one", 7)]).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(parse(text.as_bytes()).unwrap().len(), 1);
        let wrong = [
            text.replace("\"epoch\": 7", "\"epoch\": 6"),
            text.replace("\"version\": 1", "\"version\": 2"),
            text.replace("\"one\"", "\"\""),
            text[..text.len() / 2].to_owned(),
            String::new(),
        ];
        for text in wrong {
            parse(text.as_bytes()).unwrap_err();
        }
    }
}
