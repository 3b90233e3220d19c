//! Where other nodes of the cluster ask for objects that lie here or are on their way here. Nothing
//! else is answered there, and nobody else is let in.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hurricane_core::frame::{self, Decoder};
use hurricane_core::member::{self, FromDoor, Read, ToDoor};
use hurricane_core::time::{Time, micros};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::shelf::{Following, Lookup, Shelf, Source as Lying};
use crate::greeting::{Greeting, Side, greet_dialer};
use crate::identity::{KeyPair, PublicKey};
use crate::platform::fork::HiddenFromChildren;
use crate::platform::tcp;
use crate::strangers::{Source, Strangers};
use crate::tls::{Accepted, Doors, Secured};

/// The largest frame that is taken: a question has less than 40 bytes.
const MAX_QUESTION_BYTES: u64 = 256;

/// How much is read at once: more questions than are ever asked ahead.
const READ_BYTES: usize = 1 << 10;

/// A connection over which nothing was asked for so long is closed.
const IDLE_FOR: Duration = Duration::from_mins(1);

/// How long somebody may take to receive a piece: on a link of 1 Mbit/s it is 2 s.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// So many connections of one key are served at once: a machine has few nodes, and each fetches
/// few objects at once.
const MAX_LINES_OF_KEY: usize = 256;

/// How long somebody waits for a piece that is on its way here, before it is told so: a fraction of
/// the time after which it would take this node for dead.
const HOLD: Duration = Duration::from_millis(300);

/// How long nobody is let in after the system had no descriptor for one who came.
const PAUSE: Duration = Duration::from_millis(100);

type Hidden = HiddenFromChildren<TcpStream>;

/// The listener of this process's nodes.
pub(crate) struct Door {
    shelf: Rc<Shelf>,
    doors: Doors,
    began: Instant,
    strangers: RefCell<Strangers>,
    lines: RefCell<BTreeMap<PublicKey, BTreeMap<u64, AbortHandle>>>,
    entered: Cell<u64>,
}

impl Door {
    /// Opens it at a port that the system picks, and answers there for as long as the thread lives.
    pub(crate) fn open(shelf: &Rc<Shelf>, key: &KeyPair) -> io::Result<u16> {
        let listener = listen()?;
        let port = listener.local_addr()?.port();
        let door = Rc::new(Self {
            shelf: Rc::clone(shelf),
            doors: Doors::new(key, shelf.roster.keys().clone()),
            began: Instant::now(),
            strangers: RefCell::default(),
            lines: RefCell::default(),
            entered: Cell::new(0),
        });
        let cutting = Rc::downgrade(&door);
        shelf.roster.when_key_goes(Box::new(move |key| {
            if let Some(door) = cutting.upgrade() {
                door.cut(key);
            }
        }));
        tokio::task::spawn_local(door.let_in(HiddenFromChildren::new(listener)));
        Ok(port)
    }

    async fn let_in(self: Rc<Self>, listener: HiddenFromChildren<TcpListener>) {
        loop {
            match listener.get_ref().accept().await {
                Ok((stream, address)) => {
                    let stream = HiddenFromChildren::new(stream);
                    let source = Source::from(address.ip());
                    if self.strangers.borrow_mut().enter(self.now(), source) {
                        tokio::task::spawn_local(Rc::clone(&self).receive(stream, source));
                    }
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn now(&self) -> Time {
        Time(micros(self.began.elapsed()))
    }

    async fn receive(self: Rc<Self>, stream: Hidden, source: Source) {
        let greeted = self.greet(stream).await;
        self.strangers.borrow_mut().leave(source);
        let Some((stream, key)) = greeted else { return };
        self.strangers.borrow_mut().welcome(source);
        self.enter(stream, key);
    }

    async fn greet(&self, stream: Hidden) -> Option<(Secured<Hidden>, PublicKey)> {
        // Without that it is slower.
        let _ = tcp::prepare(stream.get_ref());
        let accepted = self.doors.accept(stream, false).await.ok()?;
        let Accepted::Member { mut stream, key } = accepted else { return None };
        greet_dialer(&mut stream, &Greeting::own(Side::Node, None)).await.ok()?;
        Some((*stream, key))
    }

    /// Serves one who was let in, in a task that ends with the right of its key.
    fn enter(self: &Rc<Self>, stream: Secured<Hidden>, key: PublicKey) {
        // It may have gone since it was shown.
        if self.shelf.roster.keys().roles_of(&key).is_none() {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        let of_key = lines.entry(key).or_default();
        if of_key.len() >= MAX_LINES_OF_KEY {
            return;
        }
        let number = self.entered.get();
        self.entered.set(number + 1);
        let door = Rc::clone(self);
        let serving = tokio::task::spawn_local(async move {
            // However it ends: whoever asked has another way.
            let _ = door.serve(stream).await;
            door.forget(&key, number);
        });
        of_key.insert(number, serving.abort_handle());
    }

    /// Answers questions one by one, so that who does not take the answers asks no more.
    async fn serve(&self, mut stream: Secured<Hidden>) -> io::Result<()> {
        let mut decoder = Decoder::new(MAX_QUESTION_BYTES);
        loop {
            while let Some(question) = decoder.next_message().map_err(io::Error::other)? {
                match question {
                    ToDoor::Read(read) => self.give(&mut stream, read).await?,
                    ToDoor::Find(find) => {
                        say(&mut stream, &FromDoor::Found(self.shelf.find(find))).await?;
                    }
                }
            }
            timeout(WRITE_WITHIN, stream.flush()).await??;
            decoder.buffer().reserve(READ_BYTES);
            if timeout(IDLE_FOR, stream.read_buf(decoder.buffer())).await?? == 0 {
                return Ok(());
            }
        }
    }

    async fn give(&self, stream: &mut Secured<Hidden>, read: Read) -> io::Result<()> {
        let request = read.request;
        let until = tokio::time::Instant::now() + HOLD;
        loop {
            match self.shelf.look_up(read) {
                Lookup::Here(source, following) => {
                    return send(stream, request, &source, following).await;
                }
                Lookup::Missing => {
                    return say(stream, &FromDoor::Piece { request, content: None }).await;
                }
                Lookup::Arriving(_) if tokio::time::Instant::now() >= until => {
                    return say(stream, &FromDoor::Later { request }).await;
                }
                Lookup::Arriving(gathering) => {
                    timeout(WRITE_WITHIN, stream.flush()).await??;
                    // It may have come, or gone, while that was sent.
                    let is_over = || !matches!(self.shelf.look_up(read), Lookup::Arriving(_));
                    gathering.changed(until, is_over).await;
                }
            }
        }
    }

    fn forget(&self, key: &PublicKey, number: u64) {
        let mut lines = self.lines.borrow_mut();
        if let Some(of_key) = lines.get_mut(key) {
            of_key.remove(&number);
            if of_key.is_empty() {
                lines.remove(key);
            }
        }
    }

    /// Cuts all connections of a key.
    fn cut(&self, key: &PublicKey) {
        let of_key = self.lines.borrow_mut().remove(key).unwrap_or_default();
        for serving in of_key.into_values() {
            serving.abort();
        }
    }
}

async fn say(stream: &mut Secured<Hidden>, message: &FromDoor) -> io::Result<()> {
    let mut encoded = Vec::new();
    frame::encode(message, &mut encoded);
    timeout(WRITE_WITHIN, stream.write_all(&encoded)).await?
}

/// Sends a piece from where it lies.
async fn send(
    stream: &mut Secured<Hidden>,
    request: u64,
    source: &Lying,
    following: Following,
) -> io::Result<()> {
    let Following { total_bytes, mut begin, end } = following;
    let bytes = u32::try_from(end - begin).expect("a piece is small");
    let content = Some(member::Following { total_bytes, bytes });
    say(stream, &FromDoor::Piece { request, content }).await?;
    timeout(WRITE_WITHIN, async {
        while begin < end {
            let written = poll_fn(|context| {
                let write = |bytes: &[u8]| Pin::new(&mut *stream).poll_write(context, bytes);
                let thrown_away = || Poll::Ready(Err(io::ErrorKind::NotFound.into()));
                source.with(begin, end, write).unwrap_or_else(thrown_away)
            });
            begin += written.await?;
        }
        Ok(())
    })
    .await?
}

/// At any free port, for both families of addresses where the system has both.
fn listen() -> io::Result<TcpListener> {
    let of_both = std::net::TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let listener = of_both
        .or_else(|_| std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
