//! A disk that keeps what was synced and nothing else, played from a trace of a process's system calls.
//!
//! What POSIX promises is all that counts: the bytes of a file are kept once the file was synced, its name once its folder
//! was. What was not synced at a power cut is gone, or there, or there in part.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;

type Inode = usize;

#[derive(Debug, Clone)]
enum Change {
    Name(PathBuf, Node),
    Gone(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    Folder,
    File(Inode),
}

/// The disk at one instant of the trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// What a running process sees.
    live: BTreeMap<PathBuf, Node>,
    /// What a power cut leaves.
    kept: BTreeMap<PathBuf, Node>,
    /// Names that changed and whose folder was not synced since; with the instant.
    unsynced: Vec<(usize, Change)>,
    /// Per file: the instants of its last write and of the start of its last sync.
    written: Vec<usize>,
    synced: Vec<usize>,
    now: usize,
}

/// The trace of a process: every instant at which what is kept changed, and where the bytes of files are found.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) cuts: Vec<Disk>,
    bytes: HashMap<Inode, PathBuf>,
}

impl Trace {
    /// Reads what `strace -f -y` printed about a process that worked below `root`, which stands as it left it. Syncs below
    /// `forgotten` are taken for none, as if the process had not made them.
    pub(crate) fn read(text: &str, root: &Path, forgotten: Option<&Path>) -> Self {
        let mut disk = Disk::default();
        let mut cuts = Vec::new();
        // Calls that another thread's interrupted, by thread, with the instant of their start.
        let mut begun: HashMap<&str, (usize, String)> = HashMap::new();
        for line in text.lines() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            disk.now += 1;
            let (start, call) = if let Some(head) = call.strip_suffix("<unfinished ...>") {
                begun.insert(thread, (disk.now, head.to_owned()));
                continue;
            } else if let Some((_, tail)) = call.split_once("resumed>") {
                let (start, head) = begun.remove(thread).expect("resumed calls were begun");
                (start, head + tail)
            } else {
                (disk.now, call.to_owned())
            };
            let is_sync = call.starts_with("fsync(") || call.starts_with("fdatasync(");
            let below = |path: &Path| call.contains(&format!("<{}", path.display()));
            if is_sync && forgotten.is_some_and(below) {
                continue;
            }
            if disk.apply(start, &call, root) {
                cuts.push(disk.clone());
            }
        }
        let files = disk.live.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((*inode, path.clone())),
            Node::Folder => None,
        });
        Self { bytes: files.collect(), cuts }
    }

    /// Writes what the power cut at `disk` leaves below `root` into `to`. Without `luck` nothing is left that was not
    /// synced; with it each such name and file is left, lost or cut off by chance.
    pub(crate) fn leave(&self, disk: &Disk, root: &Path, to: &Path, luck: Option<&mut StdRng>) {
        let mut kept = disk.kept.clone();
        let mut luck = luck;
        for (_, change) in &disk.unsynced {
            if luck.as_mut().is_some_and(|random| random.random_bool(0.5)) {
                change.clone().apply(&mut kept);
            }
        }
        fs::create_dir_all(to).unwrap();
        // Parents come first; a name in a folder that is lost is lost.
        for (path, node) in &kept {
            let place = to.join(path.strip_prefix(root).unwrap());
            if !place.parent().unwrap().is_dir() {
                continue;
            }
            let Node::File(inode) = node else {
                fs::create_dir_all(place).unwrap();
                continue;
            };
            let is_synced = disk.synced[*inode] >= disk.written[*inode];
            let bytes = self.bytes.get(inode).map(|path| fs::read(path).unwrap());
            let mut bytes = bytes.unwrap_or_default();
            if !is_synced {
                let most = bytes.len();
                bytes.truncate(luck.as_mut().map_or(0, |random| random.random_range(0..=most)));
            }
            fs::write(place, bytes).unwrap();
        }
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Name(path, node) => drop(names.insert(path, node)),
            Self::Gone(path) => drop(names.remove(&path)),
        }
    }

    fn folder(&self) -> &Path {
        let (Self::Name(path, _) | Self::Gone(path)) = self;
        path.parent().unwrap()
    }
}

impl Disk {
    /// Follows one call that has ended; whether more is kept now.
    fn apply(&mut self, start: usize, call: &str, root: &Path) -> bool {
        let Some((name, arguments)) = call.split_once('(') else { return false };
        if call.rsplit_once(" = ").is_none_or(|(_, result)| result.starts_with('-')) {
            return false;
        }
        // Names in the order in which they are given, absolute, as the tests give them.
        let quoted: Vec<PathBuf> =
            arguments.split('"').skip(1).step_by(2).map(PathBuf::from).collect();
        let open = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let open = open.map(|(path, _)| PathBuf::from(path));
        let ours = |path: &&PathBuf| path.starts_with(root) && path.as_path() != root;
        match (name, quoted.first().filter(ours), quoted.get(1).filter(ours)) {
            ("mkdir" | "mkdirat", Some(path), _) => self.name(path, Node::Folder),
            ("open" | "openat" | "creat", Some(path), _)
                if call.contains("O_CREAT") && !self.live.contains_key(path) =>
            {
                self.written.push(0);
                self.synced.push(0);
                self.name(path, Node::File(self.written.len() - 1));
            }
            ("link" | "linkat", Some(from), Some(to)) => self.name(to, self.live[from]),
            ("rename" | "renameat" | "renameat2", Some(from), Some(to)) => {
                let node = self.live[from];
                self.gone(from);
                self.name(to, node);
            }
            ("unlink" | "unlinkat" | "rmdir", Some(path), _) => self.gone(path),
            ("write" | "writev" | "pwrite64" | "pwritev" | "ftruncate", ..) => {
                if let Some(Node::File(inode)) = open.and_then(|path| self.live.get(&path)) {
                    self.written[*inode] = self.now;
                }
            }
            ("fsync" | "fdatasync", ..) => {
                let Some(path) = open.filter(|path| path.starts_with(root)) else { return false };
                if let Some(Node::File(inode)) = self.live.get(&path) {
                    self.synced[*inode] = start;
                } else {
                    let (kept, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsynced)
                        .into_iter()
                        .partition(|(at, change)| *at <= start && change.folder() == path);
                    self.unsynced = rest;
                    for (_, change) in kept {
                        change.apply(&mut self.kept);
                    }
                }
                return true;
            }
            _ => {}
        }
        false
    }

    fn name(&mut self, path: &Path, node: Node) {
        self.change(Change::Name(path.to_owned(), node));
    }

    fn gone(&mut self, path: &Path) {
        self.change(Change::Gone(path.to_owned()));
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.live);
        self.unsynced.push((self.now, change));
    }
}
