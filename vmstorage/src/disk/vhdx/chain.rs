//! Opening an image together with all that it stands on.
//!
//! VHD Sets: what is in a `.vhds` file is not documented. The images of a set are: they are VHDX
//! files beside it, named `<set>_<GUID>.avhdx`, of which the newest is the one that no other one
//! stands on. That one is opened, for reading only, since the set would not learn of changes; its
//! list of checkpoints is not read.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::{Locator, OpenOptions, Parent, Vhdx};
use crate::disk::{Disk, Error, ErrorKind, Result};
use crate::engine::unblock;

/// The longest chain; Hyper-V's checkpoints stay far below.
const MAX_DEPTH: usize = 256;

/// Where an image of a chain was found.
struct Link {
    path: PathBuf,
    file: Rc<dyn Disk>,
    locator: Option<Locator>,
}

/// Opens the image at `path`, and its parents where their locators say they are. `open_file` opens
/// a file, its second argument says for reading only. A `.vhds` file stands for the newest image of
/// its set.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when a parent is not found, was changed, or is its own ancestor; as
/// [`Vhdx::open`].
pub async fn open_chain<F>(path: &Path, read_only: bool, open_file: F) -> Result<Vhdx>
where
    F: AsyncFn(&Path, bool) -> Result<Rc<dyn Disk>>,
{
    let path = if path.extension() == Some(OsStr::new("vhds")) {
        if !read_only {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "VHD Set `{}` can only be opened for reading",
                    path.display()
                ),
            ));
        }
        newest_of_set(path, &open_file).await?
    } else {
        path.to_path_buf()
    };
    let mut links = vec![link(path, read_only, &open_file).await?];
    let mut seen = HashSet::from([links[0].path.clone()]);
    while let Some(Link {
        path,
        locator: Some(locator),
        ..
    }) = links.last()
    {
        let parent = find_parent(path, locator, &open_file).await?;
        if !seen.insert(parent.path.clone()) || links.len() == MAX_DEPTH {
            return Err(Error::corrupt(format!(
                "`{}` stands on `{}`, which stands on it or on more than {MAX_DEPTH} images",
                path.display(),
                parent.path.display()
            )));
        }
        links.push(parent);
    }
    let mut below: Option<Parent> = None;
    while let Some(link) = links.pop() {
        let options = OpenOptions {
            read_only: read_only || !links.is_empty(),
            parent: below.take(),
        };
        let image = Vhdx::open(link.file, options).await;
        let image = image.map_err(|error| error.context(link.path.display()))?;
        if links.is_empty() {
            return Ok(image);
        }
        below = Some(image.into_parent());
    }
    Err(Error::corrupt("a chain of no images"))
}

async fn link<F>(path: PathBuf, read_only: bool, open_file: &F) -> Result<Link>
where
    F: AsyncFn(&Path, bool) -> Result<Rc<dyn Disk>>,
{
    let file = open_file(&path, read_only).await?;
    let info = Vhdx::peek(Rc::clone(&file)).await;
    let info = info.map_err(|error| error.context(path.display()))?;
    Ok(Link {
        path,
        file,
        locator: info.parent,
    })
}

/// Tries the places that a locator names until one has the right image.
async fn find_parent<F>(child: &Path, locator: &Locator, open_file: &F) -> Result<Link>
where
    F: AsyncFn(&Path, bool) -> Result<Rc<dyn Disk>>,
{
    let mut tried = Vec::new();
    for path in places(child, locator) {
        let found = async {
            let file = open_file(&path, true).await?;
            let info = Vhdx::peek(Rc::clone(&file)).await?;
            if !locator.accepts(info.data_write_guid) {
                return Err(Error::corrupt(format!(
                    "its `DataWriteGuid` is `{}`, not `{}`: it was changed, or is another disk",
                    info.data_write_guid, locator.linkage
                )));
            }
            Ok(Link {
                path: path.clone(),
                file,
                locator: info.parent,
            })
        };
        match found.await {
            Ok(link) => return Ok(link),
            Err(error) => tried.push(format!("`{}`: {error}", path.display())),
        }
    }
    Err(Error::corrupt(format!(
        "the parent of `{}` was not found: {}",
        child.display(),
        if tried.is_empty() {
            "no path is given".into()
        } else {
            tried.join("; ")
        }
    )))
}

/// Where a parent may be, in the order of [MS-VHDX] section 2.6.2.6.3; the last place is the
/// child's directory, for images that were copied together from another machine.
fn places(child: &Path, locator: &Locator) -> Vec<PathBuf> {
    let directory = child.parent().unwrap_or(Path::new(""));
    let slashes = |path: &String| PathBuf::from(path.replace('\\', "/"));
    let relative = locator.relative_path.as_ref().map(slashes);
    let absolute = locator.absolute_path.as_ref().map(slashes);
    let is_windows = |path: &PathBuf| path.starts_with("//?") || !path.is_absolute();
    let beside = |path: &PathBuf| Some(directory.join(path.file_name()?));
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(relative.iter().map(|path| tidy(directory.join(path))));
    places.extend(
        absolute
            .iter()
            .filter(|path| !is_windows(path))
            .cloned()
            .map(tidy),
    );
    places.extend(
        relative
            .iter()
            .chain(&absolute)
            .filter_map(beside)
            .map(tidy),
    );
    let mut seen = HashSet::new();
    places.retain(|path| seen.insert(path.clone()));
    places
}

/// The image of a set that no other image of it stands on.
async fn newest_of_set<F>(set: &Path, open_file: &F) -> Result<PathBuf>
where
    F: AsyncFn(&Path, bool) -> Result<Rc<dyn Disk>>,
{
    let listed = set.to_path_buf();
    let images = unblock(move || images_of_set(&listed)).await;
    let images =
        images.map_err(|error| Error::io(format!("readdir(`{}`)", set.display()), error))?;
    let mut parents = HashSet::new();
    for path in &images {
        let link = link(path.clone(), true, open_file).await?;
        if let Some(locator) = &link.locator {
            parents.extend(places(path, locator));
        }
    }
    let mut newest = images.into_iter().filter(|path| !parents.contains(path));
    match (newest.next(), newest.next()) {
        (Some(path), None) => Ok(path),
        (None, _) => Err(Error::corrupt(format!(
            "beside VHD Set `{}` is no `.avhdx` image of it that others do not stand on",
            set.display()
        ))),
        (Some(one), Some(other)) => Err(Error::corrupt(format!(
            "VHD Set `{}` has several newest images: `{}`, `{}`; open the right one by its path",
            set.display(),
            one.display(),
            other.display()
        ))),
    }
}

/// Resolves `.` and `..` by name alone, as the program that wrote the path did.
fn tidy(path: PathBuf) -> PathBuf {
    let mut tidied = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if tidied.file_name().is_some() => {
                tidied.pop();
            }
            other => tidied.push(other),
        }
    }
    tidied
}

fn images_of_set(set: &Path) -> std::io::Result<Vec<PathBuf>> {
    let prefix = format!("{}_", set.file_stem().unwrap_or_default().to_string_lossy());
    let directory = set.parent().unwrap_or(Path::new(""));
    let listed = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let mut images = Vec::new();
    for entry in std::fs::read_dir(listed)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with(&prefix) && text.ends_with(".avhdx") {
            images.push(directory.join(&name).components().collect());
        }
    }
    images.sort();
    Ok(images)
}
