//! Chains of images, found by their paths.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{
    CreateOptions, Disk, Durability, IoBuf, Kind, Locator, MIB, Memory, Rc, Result, Vhdx, read_all,
    small,
};
use crate::disk::vhdx::open_chain;
use crate::disk::{Error, ErrorKind};
use crate::engine::run;

/// Files by path.
#[derive(Default)]
struct Files(RefCell<HashMap<PathBuf, Rc<Memory>>>);

impl Files {
    async fn open(&self, path: &Path) -> Result<Rc<dyn Disk>> {
        match self.0.borrow().get(path) {
            Some(file) => Ok(file.clone()),
            None => Err(Error::new(
                ErrorKind::Io,
                format!("no file `{}`", path.display()),
            )),
        }
    }

    async fn chain(&self, path: &str, read_only: bool) -> Result<Vhdx> {
        open_chain(Path::new(path), read_only, async |path: &Path, _| {
            self.open(path).await
        })
        .await
    }

    async fn add(&self, path: &str, options: &CreateOptions) {
        let file = Memory::new(0);
        Vhdx::create(&file, options).await.unwrap();
        self.0.borrow_mut().insert(path.into(), Rc::new(file));
    }

    async fn add_child(&self, path: &str, parent: &str, named: Locator) {
        let parent = self.open(Path::new(parent)).await.unwrap();
        let linkage = Vhdx::peek(parent).await.unwrap().data_write_guid;
        let locator = Locator { linkage, ..named };
        self.add(path, &small(2 * MIB, Kind::Differencing(locator)))
            .await;
    }
}

fn relative(path: &str) -> Locator {
    Locator {
        linkage: uuid::Uuid::nil(),
        linkage2: None,
        relative_path: Some(path.into()),
        volume_path: None,
        absolute_path: None,
    }
}

#[test]
fn each_layer_shows_through_the_next() {
    run(async {
        let files = Files::default();
        files
            .add("/a/base.vhdx", &small(2 * MIB, Kind::Dynamic))
            .await;
        let write = async |path: &str, offset: u64, byte: u8| {
            let disk = files.chain(path, false).await.unwrap();
            let data = IoBuf::copy_of(&[byte; 1024]);
            disk.write(offset, data, Durability::Volatile)
                .await
                .unwrap();
            disk.close().await.unwrap();
        };
        write("/a/base.vhdx", 0, 1).await;
        files
            .add_child("/a/b/mid.avhdx", "/a/base.vhdx", relative("..\\base.vhdx"))
            .await;
        write("/a/b/mid.avhdx", 512, 2).await;
        let absolute = Locator {
            relative_path: Some(".\\gone.avhdx".into()),
            absolute_path: Some("/a/b/mid.avhdx".into()),
            ..relative("")
        };
        files
            .add_child("/c/top.avhdx", "/a/b/mid.avhdx", absolute)
            .await;
        write("/c/top.avhdx", 1024, 3).await;
        let top = files.chain("/c/top.avhdx", true).await.unwrap();
        let content = read_all(&top).await;
        let expected = [vec![1; 512], vec![2; 512], vec![3; 1024], vec![0; 100]].concat();
        assert_eq!(content[..2148], expected);

        // A parent that was written is another one.
        write("/a/base.vhdx", 4096, 9).await;
        let error = files.chain("/c/top.avhdx", true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("DataWriteGuid"), "{error}");
    })
    .unwrap();
}

#[test]
fn images_copied_from_windows_are_found_beside_each_other() {
    run(async {
        let files = Files::default();
        files.add("base.vhdx", &small(2 * MIB, Kind::Dynamic)).await;
        let locator = Locator {
            relative_path: Some("..\\Templates\\base.vhdx".into()),
            absolute_path: Some("\\\\?\\D:\\Templates\\base.vhdx".into()),
            ..relative("")
        };
        files.add_child("child.avhdx", "base.vhdx", locator).await;
        files.chain("child.avhdx", false).await.unwrap();
    })
    .unwrap();
}

#[test]
fn a_loop_is_an_error() {
    run(async {
        let files = Files::default();
        let same = Locator {
            linkage: uuid::Uuid::from_u128(9),
            ..relative("b.vhdx")
        };
        files
            .add("/a.vhdx", &small(2 * MIB, Kind::Differencing(same)))
            .await;
        // Both become each other's parents by the identity they name.
        let a = files.open(Path::new("/a.vhdx")).await.unwrap();
        let id = Vhdx::peek(a.clone()).await.unwrap().data_write_guid;
        let back = Locator {
            linkage: id,
            ..relative("a.vhdx")
        };
        files
            .add("/b.vhdx", &small(2 * MIB, Kind::Differencing(back)))
            .await;
        let b = files.open(Path::new("/b.vhdx")).await.unwrap();
        let mut headers = super::super::header::Headers::load(&*b).await.unwrap();
        let named = |next: &mut super::super::header::Header| {
            next.data_write = uuid::Uuid::from_u128(9);
        };
        headers.update(&*b, named).await.unwrap();
        let error = files.chain("/a.vhdx", true).await.unwrap_err();
        assert!(error.to_string().contains("stands on"), "{error}");
    })
    .unwrap();
}

#[test]
fn a_set_is_its_newest_image() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let set = directory.path().join("data.vhds");
        let name = |name: &str| directory.path().join(name);
        let files = Files::default();
        let (old, new) = (name("data_1111.avhdx"), name("data_2222.avhdx"));
        files
            .add(old.to_str().unwrap(), &small(2 * MIB, Kind::Dynamic))
            .await;
        let below = relative(".\\data_1111.avhdx");
        files
            .add_child(new.to_str().unwrap(), old.to_str().unwrap(), below)
            .await;
        for path in [&old, &new, &set, &name("other_3.avhdx")] {
            std::fs::write(path, "").unwrap();
        }
        let set = set.to_str().unwrap();
        let disk = files.chain(set, true).await.unwrap();
        assert!(disk.info().parent.is_some(), "the newest one");
        let error = files.chain(set, false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        std::fs::remove_file(&old).unwrap();
        std::fs::remove_file(&new).unwrap();
        files.chain(set, true).await.unwrap_err();
    })
    .unwrap();
}
