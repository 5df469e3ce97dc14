//! A web service for products in an SQLite database, which keeps the rows that it reads in a cache.
//!
//! `cargo run -p larder-service -- FOLDER [ADDRESS]` keeps the database and the snapshot in the folder;
//! README.md beside this has the requests to try. What the cache does here:
//!
//! - A request for a product that is not in the cache reads the database once, however many clients ask.
//! - A row lives for a minute, give or take a tenth. While it is renewed, and if the database fails, the old one
//!   is served. That there is no such product is remembered for five seconds.
//! - A write changes the database first and the cache afterwards, so no old row comes back.
//! - A discount for a category changes many rows by one statement, and the cache by one tag.
//! - The cache is saved at the end and loaded at the next start. The file is used once, because a later change of
//!   the database does not reach it: after a crash the cache starts empty.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};
use larder::{AsyncLoadingCache, BuildError, Cache, LoadError, Loaded};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Serialize, Deserialize)]
struct Product {
    name: String,
    category: String,
    price: f64,
}

#[derive(Clone)]
struct Database(Arc<Mutex<Connection>>);

impl Database {
    fn open(path: PathBuf) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS product (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL)",
        )?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Runs `query` where it may block its thread.
    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = Arc::clone(&self.0);
        let lock = move || query(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tokio::task::spawn_blocking(lock).await??)
    }
}

type Products = AsyncLoadingCache<u64, Product, Error>;

fn cache_of(database: Database) -> Result<Products, BuildError> {
    Cache::builder()
        .capacity(100_000)
        .time_to_live(Duration::from_secs(60))
        .jitter(0.1)
        .stale_while_revalidate(Duration::from_secs(10))
        .stale_if_error(Duration::from_secs(600))
        .negative_time_to_live(Duration::from_secs(5))
        .hard_timeout(Duration::from_secs(2))
        // Loads in the background use tokio, so they have to run there.
        .load_executor(tokio::runtime::Handle::current())
        .count_lookups()
        .build_with_async_loader(move |id, load| {
            let database = database.clone();
            async move {
                let select = "SELECT name, category, price FROM product WHERE id = ?1";
                let row = database.run(move |connection| {
                    let product = |row: &rusqlite::Row<'_>| {
                        Ok(Product { name: row.get(0)?, category: row.get(1)?, price: row.get(2)? })
                    };
                    connection.query_row(select, [id], product).optional()
                });
                let Some(product) = row.await? else { return Ok(Loaded::Missing) };
                load.set_tags(&[&product.category]);
                Ok(Loaded::Store(product))
            }
        })
}

#[derive(Clone)]
struct Service {
    database: Database,
    products: Products,
}

type Answer<T> = Result<T, (StatusCode, String)>;

async fn read(State(service): State<Service>, Path(id): Path<u64>) -> Answer<Json<Product>> {
    service.products.get(&id).await.map(Json).map_err(|error| match error {
        LoadError::NotLoaded => (StatusCode::NOT_FOUND, format!("there is no product {id}\n")),
        LoadError::TimedOut => (StatusCode::GATEWAY_TIMEOUT, format!("{error}\n")),
        _ => internal(error),
    })
}

async fn write(
    State(service): State<Service>,
    Path(id): Path<u64>,
    Json(product): Json<Product>,
) -> Answer<StatusCode> {
    let Product { name, category, price } = product;
    let upsert = "INSERT OR REPLACE INTO product VALUES (?1, ?2, ?3, ?4)";
    let row = (id, name, category, price);
    service.database.run(move |it| it.execute(upsert, row)).await.map_err(internal)?;
    service.products.remove(&id);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Discount {
    percent: f64,
}

async fn discount(
    State(service): State<Service>,
    Path(category): Path<String>,
    Query(Discount { percent }): Query<Discount>,
) -> Answer<String> {
    let update = "UPDATE product SET price = price * (100 - ?1) / 100 WHERE category = ?2";
    let (tag, row) = (category.clone(), (percent, category));
    let changed =
        service.database.run(move |it| it.execute(update, row)).await.map_err(internal)?;
    service.products.invalidate_tag(&tag);
    Ok(format!("{changed} products cost {percent} % less\n"))
}

/// The statistics of the cache, one to a line.
async fn metrics(State(service): State<Service>) -> String {
    let stats = service.products.stats().to_string();
    format!("entries {}\n{}\n", service.products.len(), stats.replace(' ', "\n").replace('=', " "))
}

fn internal(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

/// Returns when the process is asked to end.
async fn end_of_service() {
    #[cfg(unix)]
    let asked = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let asked = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = asked => {}
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: larder-service FOLDER [ADDRESS]")?);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let (snapshot, listener) =
        (folder.join("products.snapshot"), tokio::net::TcpListener::bind(address).await?);

    let database = Database::open(folder.join("products.db"))?;
    let products = cache_of(database.clone())?;
    if snapshot.exists() {
        match products.load_from_path_async(&snapshot, &RestoreOptions::new()).await {
            Ok(loaded) => println!("loaded {} products", loaded.entries),
            Err(error) => println!("the snapshot is left out: {error}"),
        }
        std::fs::remove_file(&snapshot)?;
    }

    let service = Service { database, products: products.clone() };
    let routes = Router::new()
        .route("/products/{id}", get(read).put(write))
        .route("/categories/{category}/discount", post(discount))
        .route("/metrics", get(metrics))
        .with_state(service);
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, routes).with_graceful_shutdown(end_of_service()).await?;

    let postcard = SaveOptions::new(Serializers::standard().get("postcard")?);
    let saved = products.save_to_path_async(&snapshot, &postcard).await?;
    println!("saved {} products", saved.entries);
    Ok(())
}
