//! The thread of a program's connections to a cluster: finds it, then carries what clients say and
//! hear.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hurricane_core::id::{BootId, ClientId, ObjectId};
use hurricane_core::member::{Answer, Request, ToClient};
use hurricane_core::message::ClientToScheduler;
use hurricane_core::snapshot::Snapshot;
use tokio::runtime;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::Shared;
use super::client::{Client, Effect};
use super::destination::Destination;
use super::error::FindError;
use super::exchange::Exchange;
use super::search::Plan;
use crate::dialing::{DialError, Dialer};
use crate::greeting::Side;
use crate::operator::{AskError, ask};
use crate::platform::signals::Mask;
use crate::randomness::unique_number;
use crate::uplink::{self, Uplink};

/// After so many turns, whatever else the thread has to do comes first.
const TURNS_IN_A_ROW: u32 = 16;

/// While tasks are submitted one after the other, they gather for so long, unless somebody waits for
/// a result: each time that some are sent, three threads wake for them.
const GATHERING_TIME: Duration = Duration::from_millis(1);

/// How often a client that had sent more than its session takes is looked after.
const SETTLING_TIME: Duration = Duration::from_millis(10);

/// How soon a value is asked for again that was not where it should be: when a node is lost, its
/// values are computed again.
const READ_AGAIN_TIME: Duration = Duration::from_millis(500);

/// For how long the thread tries, at its end, to tell the scheduler that its clients are gone. It
/// would notice by itself, a little later.
const LINGER: Duration = Duration::from_secs(1);

/// For how long a question may go without an answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Where the outcome of the start goes.
pub(super) type Tell<T> = SyncSender<Result<T, FindError>>;

/// What there is to do.
#[derive(Debug)]
pub(super) enum Input {
    /// A client begins.
    Open { client: ClientId, exchange: Arc<Exchange> },
    /// It says something.
    Say { client: ClientId, message: ClientToScheduler },
    /// It wants a value.
    Fetch { client: ClientId, object: ObjectId },
    /// It ends.
    Close { client: ClientId },
    /// Its session has something to tell.
    Session { client: ClientId, event: uplink::Event<ToClient> },
    /// Somebody wants to see the cluster's state.
    Snapshot { tell: Tell<Snapshot> },
    /// Somebody wants to know how many slots there are.
    Slots,
}

impl Input {
    fn is_submission(&self) -> bool {
        matches!(self, Self::Say { message: ClientToScheduler::Submit { .. }, .. })
    }
}

/// Starts the thread.
pub(super) fn spawn<F>(
    shared: Arc<Shared>,
    main: impl FnOnce(Arc<Shared>) -> F + Send + 'static,
) -> io::Result<JoinHandle<()>>
where
    F: Future<Output = ()> + 'static,
{
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    // Signals are the program's business, so the thread is born with all of them blocked.
    let mask = Mask::block_all();
    let thread = thread::Builder::new().name("hurricane".into()).spawn(move || {
        // Dropped last, whatever happens: nobody must wait for a cluster that is not there.
        let _closing = Closing(Arc::clone(&shared));
        LocalSet::new().block_on(&runtime, async {
            // A task like those that read and write: what they wake it for is done before the
            // system is asked what else has happened. If it panicked, that was shown.
            let _ = tokio::task::spawn_local(main(shared)).await;
        });
        // A name that is being looked up cannot be waited for.
        runtime.shutdown_background();
    });
    mask.apply();
    thread
}

/// Looks for a cluster; if there is one, carries connections to it.
pub(super) async fn find(shared: Arc<Shared>, plan: Plan, tell: Tell<bool>) {
    let found = tokio::select! {
        found = plan.carry_out() => found,
        () = shared.stopped() => return,
    };
    match found {
        Ok(Some(found)) => {
            shared.learn_slots(&found.snapshot);
            serve(shared, found.destination, tell).await;
        }
        Ok(None) => answer(&tell, Ok(false)),
        Err(error) => answer(&tell, Err(error)),
    }
}

/// Carries connections to a destination.
pub(super) async fn serve(shared: Arc<Shared>, destination: Destination, tell: Tell<bool>) {
    match Service::new(shared, &destination) {
        Ok(service) => {
            answer(&tell, Ok(true));
            service.serve().await;
        }
        Err(error) => answer(&tell, Err(AskError::Dial(error).into())),
    }
}

/// Whoever asked may have gone.
fn answer<T>(tell: &Tell<T>, what: Result<T, FindError>) {
    let _ = tell.try_send(what);
}

/// The thread's state.
struct Service {
    shared: Arc<Shared>,
    /// For clients.
    dialer: Rc<Dialer>,
    /// For questions.
    operator: Rc<Dialer>,
    clients: BTreeMap<ClientId, Client>,
    inputs: Vec<Input>,
    /// Whether more than one task was submitted before it was looked last.
    is_stream: bool,
    /// Whether those who put something in count on it that it is looked soon.
    lets_gather: bool,
    /// What goes on beside: ends of sessions that are on their way, questions, and pauses.
    beside: JoinSet<()>,
}

impl Service {
    fn new(shared: Arc<Shared>, destination: &Destination) -> Result<Self, DialError> {
        Ok(Self {
            shared,
            dialer: destination.dialer(Side::Client)?,
            operator: destination.dialer(Side::Operator)?,
            clients: BTreeMap::new(),
            inputs: Vec::new(),
            is_stream: false,
            lets_gather: false,
            beside: JoinSet::new(),
        })
    }

    async fn serve(mut self) {
        let mut turns = 0_u32;
        while !self.shared.is_stopping() {
            self.turn();
            turns = turns.wrapping_add(1);
            // The connections get their turns even when the inbox is never empty.
            if turns.is_multiple_of(TURNS_IN_A_ROW) {
                tokio::task::yield_now().await;
            }
            self.wait().await;
        }
        self.end().await;
    }

    /// Does what there is to do.
    fn turn(&mut self) {
        while self.beside.try_join_next().is_some() {}
        let mut inputs = std::mem::take(&mut self.inputs);
        self.lets_gather = self.is_stream;
        self.shared.inbox.take_and_let_gather(&mut inputs, self.lets_gather);
        self.is_stream = inputs.iter().filter(|input| input.is_submission()).nth(1).is_some();
        for input in inputs.drain(..) {
            self.take(input);
        }
        self.inputs = inputs;
        for (id, client) in &mut self.clients {
            client.settle(self.shared.mailboxes.of(*id).as_deref());
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Open { client, exchange } => self.open(client, exchange),
            Input::Say { client, message } => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.say(message);
                }
            }
            Input::Fetch { client, object } => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.fetch(object);
                }
            }
            Input::Close { client } => self.close(client),
            Input::Session { client, event } => self.on_event(client, event),
            Input::Snapshot { tell } => self.ask(move |_, asked| answer(&tell, asked)),
            Input::Slots => self.ask(|shared, asked| {
                if let Ok(snapshot) = asked {
                    shared.learn_slots(&snapshot);
                }
            }),
        }
    }

    fn open(&mut self, id: ClientId, exchange: Arc<Exchange>) {
        let shared = Arc::clone(&self.shared);
        let tell = move |event| shared.inbox.push(Input::Session { client: id, event });
        let client =
            Client::start(Rc::clone(&self.dialer), BootId(unique_number()), exchange, tell);
        self.clients.insert(id, client);
    }

    fn close(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(&id) {
            self.flush(client.end());
        }
    }

    fn on_event(&mut self, id: ClientId, event: uplink::Event<ToClient>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        match client.on_event(event) {
            Effect::None => {}
            Effect::ReadLater(object) => self.read_later(id, object),
            Effect::Notice(sentence) => {
                if let Some(mailbox) = self.shared.mailboxes.of(id) {
                    mailbox.notice(sentence);
                }
            }
            Effect::Over(reason) => {
                if let Some(client) = self.clients.remove(&id) {
                    client.lose(reason, self.shared.mailboxes.of(id).as_deref());
                }
            }
        }
    }

    fn read_later(&mut self, client: ClientId, object: ObjectId) {
        let shared = Arc::clone(&self.shared);
        self.beside.spawn_local(async move {
            tokio::time::sleep(READ_AGAIN_TIME).await;
            shared.inbox.push(Input::Fetch { client, object });
        });
    }

    fn ask(&mut self, then: impl FnOnce(&Shared, Result<Snapshot, FindError>) + 'static) {
        let (shared, operator) = (Arc::clone(&self.shared), Rc::clone(&self.operator));
        self.beside.spawn_local(async move {
            let asked = timeout(ANSWER_TIME, ask(&operator, &Request::Status)).await;
            let late = || AskError::Unanswered(io::ErrorKind::TimedOut.into());
            then(&shared, snapshot_in(asked.unwrap_or_else(|_| Err(late()))));
        });
    }

    fn flush(&mut self, uplink: Uplink<ToClient>) {
        self.beside.spawn_local(async move { uplink.flushed().await });
    }

    async fn wait(&self) {
        let arrived = self.shared.inbox.arrived();
        if self.lets_gather {
            let _ = timeout(GATHERING_TIME, arrived).await;
        } else if self.clients.values().any(Client::is_unsettled) {
            // Room comes with acknowledgements, of which nobody is told.
            let _ = timeout(SETTLING_TIME, arrived).await;
        } else {
            arrived.await;
        }
    }

    async fn end(mut self) {
        self.beside.abort_all();
        let mut ending = JoinSet::new();
        for client in std::mem::take(&mut self.clients).into_values() {
            let uplink = client.end();
            ending.spawn_local(async move { uplink.flushed().await });
        }
        let _ = timeout(LINGER, ending.join_all()).await;
    }
}

fn snapshot_in(answer: Result<Answer, AskError>) -> Result<Snapshot, FindError> {
    match answer? {
        Answer::Status(snapshot) => Ok(*snapshot),
        Answer::Refused(reason) => {
            Err(FindError::Refused { destination: "the scheduler".to_owned(), reason })
        }
        _ => Err(AskError::Unanswered(io::ErrorKind::InvalidData.into()).into()),
    }
}

/// Closes all connections when it is dropped.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.mailboxes.close();
    }
}
