//! One connection to one broker: made, set up, read from, closed.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_rs::Runtime;
use futures_core::Stream as Items;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, ConnectionProperties, Consumer, ExchangeKind, PublisherConfirm,
};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::envelope::REPLY_BYTES_MAX;
use super::super::options::{Login, RpcSettings};
use super::super::random::uuid4;
use super::super::transport_url::Host;
use super::gate::Gate;
use super::kit::Kit;
use super::stream::Stream;
use super::topology::Topology;
use super::{AmqpError, reply_code, tls};
use crate::control::resolve;

/// For the name and a TCP connection to one of its addresses: kombu's default.
const TCP_WITHIN: Duration = Duration::from_secs(5);
/// For the TLS handshake.
const TLS_WITHIN: Duration = Duration::from_secs(5);
/// From the protocol header to connection.open-ok.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// For channels and declarations.
const SET_UP_WITHIN: Duration = Duration::from_secs(10);
/// For the orderly end of a connection.
const CLOSE_WITHIN: Duration = Duration::from_millis(400);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// As oslo.messaging numbers consumers of a connection.
const CONSUMER_TAG: &str = "1";

/// A connection that is open, and nothing more.
pub(in crate::control::rpc) struct Connection {
    inner: lapin::Connection,
    events: Pin<Box<dyn Items<Item = lapin::Event> + Send>>,
    replies: Option<(Channel, Consumer)>,
}

/// What a connection has to tell.
pub(in crate::control::rpc) enum Event {
    /// A reply, which is not acknowledged yet.
    Reply(Box<Delivery>),
    /// The broker ended our consumer: its queue is gone, or moved in the cluster.
    Cancelled,
    /// The broker takes no messages for now, and why.
    Blocked(String),
    /// It takes messages again.
    Unblocked,
    /// The connection, or the channel for replies, is over.
    Lost(AmqpError),
}

/// The channel for requests.
#[derive(Clone)]
pub(in crate::control::rpc) struct Publisher {
    channel: Channel,
    exchange: ShortString,
}

/// Connects to `host` and logs in.
pub(in crate::control::rpc) async fn connect(
    settings: &RpcSettings,
    host: &Host,
) -> Result<Connection, AmqpError> {
    let stream = open_stream(settings, host).await?;
    // lapin asks for a stream with a function it may call again; there is one.
    let stream = Mutex::new(Some(stream));
    let connector = async move |_, _| {
        let taken = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken
            .map(AsyncTcpStream::Plain)
            .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted).into())
    };
    let name = format!("{}:{}:{}", settings.program, std::process::id(), uuid4());
    let properties = ConnectionProperties::default()
        .with_client_property("product".into(), "consolegate".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
        .with_connection_name(name.into());
    let opening = lapin::Connection::connector(
        uri(settings, host)?,
        Runtime::new(Kit::current()),
        connector,
        properties,
    );
    // The stream itself gives up first, which also ends lapin's thread.
    let inner = match timeout(OPEN_WITHIN + Duration::from_secs(1), opening).await {
        Ok(Ok(inner)) => inner,
        Ok(Err(error)) => return Err(login_error(&error)),
        Err(_) => return Err(AmqpError::Failed("the broker did not open the connection in time".to_owned())),
    };
    let events = Box::pin(inner.events_listener());
    Ok(Connection { inner, events, replies: None })
}

fn uri(settings: &RpcSettings, host: &Host) -> Result<AMQPUri, AmqpError> {
    let password = std::str::from_utf8(host.password.expose());
    let password = password.map_err(|_| AmqpError::Refused("the password is not UTF-8".to_owned()))?;
    let heartbeat = settings.rabbit.heartbeat_s;
    Ok(AMQPUri {
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: host.user.clone(), password: password.to_owned() },
            host: host.name.clone(),
            port: host.port,
        },
        vhost: settings.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(heartbeat),
            auth_mechanism: Some(match settings.rabbit.login {
                Login::AmqPlain => SASLMechanism::AMQPlain,
                Login::Plain => SASLMechanism::Plain,
                Login::External => SASLMechanism::External,
                Login::RabbitCrDemo => SASLMechanism::RabbitCrDemo,
            }),
            ..AMQPQueryString::default()
        },
    })
}

async fn open_stream(settings: &RpcSettings, host: &Host) -> Result<Stream, AmqpError> {
    let deadline = Instant::now() + TCP_WITHIN;
    let tcp = match timeout_at(deadline, open_tcp(host)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(AmqpError::Failed(error.to_string())),
        Err(_) => return Err(AmqpError::Failed("no TCP connection within 5 s".to_owned())),
    };
    let gate = Gate::new(settings.rabbit.heartbeat_s == 0, REPLY_BYTES_MAX as u64);
    let Some(options) = settings.rabbit.tls.clone() else {
        return Ok(Stream::plain(tcp, gate, OPEN_WITHIN));
    };
    let config = tokio::task::spawn_blocking(move || tls::client_config(&options)).await;
    let config = config.unwrap_or_else(|stopped| Err(stopped.to_string()));
    let config = config.map_err(|why| AmqpError::Failed(format!("TLS cannot be used: {why}")))?;
    let name = ServerName::try_from(host.name.clone())
        .map_err(|_| AmqpError::Failed("its name cannot stand in a certificate".to_owned()))?;
    match timeout(TLS_WITHIN, Stream::tls(tcp, config, name, gate, OPEN_WITHIN)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(AmqpError::Failed(format!("the TLS handshake failed: {error}"))),
        Err(_) => Err(AmqpError::Failed("no TLS handshake within 5 s".to_owned())),
    }
}

async fn open_tcp(host: &Host) -> io::Result<TcpStream> {
    let addresses = match resolve::literal(&host.name, host.port) {
        Some(address) => vec![address],
        None => {
            let (name, port) = (host.name.clone(), host.port);
            let found = tokio::task::spawn_blocking(move || resolve::look_up(&name, port, ADDRESSES_MAX));
            found.await.map_err(io::Error::other)??
        }
    };
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// RabbitMQ may just close the socket on a login it does not like.
fn login_error(error: &lapin::Error) -> AmqpError {
    match AmqpError::of(error) {
        AmqpError::Failed(text) if text.contains("connection aborted") => AmqpError::Failed(
            "the broker closed the connection during login; check login credentials".to_owned(),
        ),
        error => error,
    }
}

impl Connection {
    /// The negotiated heartbeat, in seconds.
    pub(in crate::control::rpc) fn heartbeat_s(&self) -> u16 {
        self.inner.configuration().heartbeat()
    }

    /// Declares what `topology` says, and consumes replies from then on. `afresh` deletes the reply queue before,
    /// with what is in it.
    pub(in crate::control::rpc) async fn set_up(
        &mut self,
        topology: &Topology,
        afresh: bool,
    ) -> Result<Publisher, AmqpError> {
        let set_up = async {
            if afresh {
                delete_queue(&self.open_channel().await?, topology).await?;
            }
            self.consume(topology).await?;
            self.open_publisher(topology).await
        };
        timeout(SET_UP_WITHIN, set_up).await.unwrap_or_else(|_| Err(slow_set_up()))
    }

    /// Declares the reply queue, and the rest of the way back, and consumes from it.
    pub(in crate::control::rpc) async fn consume_again(
        &mut self,
        topology: &Topology,
    ) -> Result<(), AmqpError> {
        timeout(SET_UP_WITHIN, self.consume(topology)).await.unwrap_or_else(|_| Err(slow_set_up()))
    }

    async fn consume(&mut self, topology: &Topology) -> Result<(), AmqpError> {
        // A channel of its own each time: the old one may be closed.
        let mut channel = self.open_channel().await?;
        let qos = channel.basic_qos(topology.prefetch, BasicQosOptions::default()).await;
        qos.map_err(|error| AmqpError::of(&error))?;
        let queue = short(&topology.reply_queue)?;
        if let Err(error) = declare_queue(&channel, topology, &queue).await {
            if reply_code(&error) != Some(404) {
                return Err(AmqpError::of(&error));
            }
            // The cluster's node that holds the queue is down: oslo.messaging makes it anew, too.
            channel = self.open_channel().await?;
            delete_queue(&channel, topology).await?;
            declare_queue(&channel, topology, &queue).await.map_err(|error| AmqpError::of(&error))?;
        }
        if let Some(options) = topology.reply_exchange {
            let declared = channel
                .exchange_declare(queue.clone(), ExchangeKind::Direct, options, FieldTable::default())
                .await;
            declared.map_err(|error| AmqpError::of(&error))?;
            let bind = QueueBindOptions::default();
            let bound = channel
                .queue_bind(queue.clone(), queue.clone(), queue.clone(), bind, FieldTable::default())
                .await;
            bound.map_err(|error| AmqpError::of(&error))?;
        }
        let arguments = topology.consumer_arguments.clone();
        let consumer = channel
            .basic_consume(queue, CONSUMER_TAG.into(), BasicConsumeOptions::default(), arguments)
            .await;
        self.replies = Some((channel, consumer.map_err(|error| AmqpError::of(&error))?));
        Ok(())
    }

    /// A channel for requests, when the one before was closed.
    pub(in crate::control::rpc) async fn publish_again(
        &mut self,
        topology: &Topology,
    ) -> Result<Publisher, AmqpError> {
        timeout(SET_UP_WITHIN, self.open_publisher(topology)).await.unwrap_or_else(|_| Err(slow_set_up()))
    }

    async fn open_publisher(&self, topology: &Topology) -> Result<Publisher, AmqpError> {
        let exchange = short(&topology.exchange)?;
        let declare = async |options| {
            let channel = self.open_channel().await?;
            let exchange = exchange.clone();
            let declared =
                channel.exchange_declare(exchange, ExchangeKind::Topic, options, FieldTable::default());
            Ok::<_, AmqpError>((declared.await, channel))
        };
        let (declared, channel) = declare(topology.exchange_options).await?;
        let channel = match declared {
            Ok(()) => channel,
            // Somebody declared it with other options, which cannot be changed: use it as it is, as
            // oslo.messaging does (`_declare_fallback`).
            Err(error) if reply_code(&error) == Some(406) => {
                let mut options = topology.exchange_options;
                options.durable = !options.durable;
                let (declared, channel) = declare(options).await?;
                declared.map_err(|error| AmqpError::of(&error))?;
                channel
            }
            Err(error) => return Err(AmqpError::of(&error)),
        };
        let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| AmqpError::of(&error))?;
        Ok(Publisher { channel, exchange })
    }

    async fn open_channel(&self) -> Result<Channel, AmqpError> {
        self.inner.create_channel().await.map_err(|error| AmqpError::of(&error))
    }

    /// The next event.
    pub(in crate::control::rpc) async fn next(&mut self) -> Event {
        let (events, replies) = (&mut self.events, &mut self.replies);
        poll_fn(|cx| {
            if let Some((_, consumer)) = replies
                && let Poll::Ready(delivered) = Pin::new(consumer).poll_next(cx)
            {
                return Poll::Ready(match delivered {
                    Some(Ok(delivery)) => Event::Reply(Box::new(delivery)),
                    Some(Err(error)) => Event::Lost(AmqpError::of(&error)),
                    None => Event::Cancelled,
                });
            }
            while let Poll::Ready(event) = events.as_mut().poll_next(cx) {
                match event {
                    Some(lapin::Event::ConnectionBlocked(why)) => return Poll::Ready(Event::Blocked(why)),
                    Some(lapin::Event::ConnectionUnblocked) => return Poll::Ready(Event::Unblocked),
                    // Channels may fail alone; the loss of the connection reaches the consumer, too.
                    Some(_) => {}
                    None => {
                        return Poll::Ready(Event::Lost(AmqpError::Failed(
                            "the connection ended".to_owned(),
                        )));
                    }
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the connection still stands.
    pub(in crate::control::rpc) fn is_up(&self) -> bool {
        self.inner.status().connected()
    }

    /// Deletes the reply queue, so that the broker need not keep it until it expires.
    pub(in crate::control::rpc) async fn delete_replies(&mut self, topology: &Topology) {
        if let Some((channel, _)) = self.replies.take() {
            // Who cannot be told learns it from x-expires.
            let _ = timeout(CLOSE_WITHIN, delete_queue(&channel, topology)).await;
        }
    }

    /// Says goodbye.
    pub(in crate::control::rpc) async fn close(self) {
        let _ = timeout(CLOSE_WITHIN, self.inner.close(200, "Goodbye".into())).await;
    }
}

async fn declare_queue(channel: &Channel, topology: &Topology, queue: &ShortString) -> lapin::Result<()> {
    let (options, arguments) = (topology.reply_queue_options, topology.reply_queue_arguments.clone());
    let options: QueueDeclareOptions = options;
    channel.queue_declare(queue.clone(), options, arguments).await.map(drop)
}

async fn delete_queue(channel: &Channel, topology: &Topology) -> Result<(), AmqpError> {
    let deleted = channel.queue_delete(short(&topology.reply_queue)?, QueueDeleteOptions::default()).await;
    deleted.map(drop).map_err(|error| AmqpError::of(&error))
}

/// Takes a reply off the queue.
pub(in crate::control::rpc) async fn acknowledge(delivery: &Delivery) {
    // On a channel that is gone the broker will deliver it again, which the table of seen messages knows.
    let _ = delivery.ack(BasicAckOptions::default()).await;
}

impl Publisher {
    /// Hands a request to the broker; what comes back resolves when the broker has confirmed it.
    pub(in crate::control::rpc) async fn publish(
        &self,
        routing_key: &ShortString,
        body: &[u8],
        expires_in: Duration,
    ) -> Result<PublisherConfirm, AmqpError> {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_headers(FieldTable::default())
            .with_delivery_mode(2)
            .with_priority(0)
            .with_expiration(expires_in.as_millis().to_string().into());
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let published =
            self.channel.basic_publish(self.exchange.clone(), routing_key.clone(), options, body, properties);
        published.await.map_err(|error| AmqpError::of(&error))
    }

    /// Whether the channel is open.
    pub(in crate::control::rpc) fn is_up(&self) -> bool {
        self.channel.status().connected()
    }
}

/// A name as AMQP has it, at most 255 bytes. lapin would panic at a longer one.
pub(in crate::control::rpc) fn short(text: &str) -> Result<ShortString, AmqpError> {
    ShortString::try_new(text)
        .map_err(|_| AmqpError::Refused(format!("a name of {} bytes is too long", text.len())))
}

fn slow_set_up() -> AmqpError {
    AmqpError::Failed("the broker did not declare the reply queue within 10 s".to_owned())
}
