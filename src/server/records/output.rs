//! The file or the socket, opened so that nothing waits in it.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Access, access};
use socket2::{Domain, SockAddr, Socket, Type};

use super::Target;

/// Where lines are written to.
pub enum Output {
    File(File),
    Socket(UnixStream),
}

impl Output {
    pub fn open(target: &Target) -> io::Result<Self> {
        match target {
            Target::File(path) => file(path).map(Self::File),
            Target::Socket(path) => socket(path).map(Self::Socket),
        }
    }

    /// Writes what can be written at once.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(octets),
            Self::Socket(socket) => socket.write(octets),
        }
    }
}

/// Whether this is no mistake of the configuration: the other side of a socket or a pipe may come later.
pub fn may_come(target: &Target, error: &io::Error) -> bool {
    match target {
        Target::File(path) => {
            error.raw_os_error() == Some(libc::ENXIO) && is(path, |kind| kind.is_fifo())
        }
        // Nobody listens, nobody accepts, or it is not yet there.
        Target::Socket(path) => match error.kind() {
            ErrorKind::ConnectionRefused => is(path, |kind| kind.is_socket()),
            ErrorKind::WouldBlock => true,
            ErrorKind::NotFound => path.parent().is_some_and(Path::is_dir),
            _ => false,
        },
    }
}

fn is(path: &Path, kind: impl Fn(FileType) -> bool) -> bool {
    std::fs::metadata(path).is_ok_and(|found| kind(found.file_type()))
}

/// What a look at a target finds.
pub enum Probed {
    Good,
    /// Its other side may come later; why it is not there.
    NobodyThere(String),
}

/// Looks whether records could be written, and leaves nothing behind.
pub fn probe(target: &Target) -> Result<Probed, String> {
    let looked = match target {
        Target::File(path) => look_at_file(path),
        Target::Socket(path) => look_at_socket(path),
    };
    match looked {
        Ok(()) => Ok(Probed::Good),
        Err(error) if may_come(target, &error) => Ok(Probed::NobodyThere(error.to_string())),
        Err(error) => Err(error.to_string()),
    }
}

fn look_at_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    match options
        .append(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
    {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Not tried: a relay that runs may be about to make it.
            let folder = path.parent().unwrap_or(Path::new("/"));
            Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        opened => opened.map(drop),
    }
}

/// Without a connect, which whoever listens there would have to make sense of.
fn look_at_socket(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)?.file_type().is_socket() {
        true => Ok(()),
        false => Err(io::Error::other("it is no socket")),
    }
}

/// Appends. A line that was cut short there ends, so that it takes no other with it.
fn file(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() && ends_inside_a_line(path) {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Not where it cannot be read: then nobody knows.
fn ends_inside_a_line(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    last().is_ok_and(|last| last != b'\n')
}

/// A connect to somebody who does not accept would wait; this one fails.
fn socket(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}
