"""What the API is measured against: the same jobs in FastAPI and SQLModel, as a plain service of that kind is written.

Async sessions, a model per table with single-column indexes, answers by response models; no sign-in, no counts.
`STANDIN_URL` is SQLAlchemy's URL of an empty database, which is filled with `STANDIN_ROWS` jobs at the start.
"""

import os
import random
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from fastapi import Depends, FastAPI, HTTPException, Query
from sqlalchemy import JSON, Column, DateTime, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel, select


def now() -> datetime:
    return datetime.now(UTC)


def time_column(**options):
    return Field(default=None, sa_type=DateTime(timezone=True), **options)


class Definition(SQLModel, table=True):
    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    name_str: str = Field(max_length=255, index=True)
    is_active_flag: bool = True


class JobBase(SQLModel):
    ai_workflow_def_id: uuid.UUID = Field(foreign_key="definition.id", index=True)
    job_name_str: str = Field(default="", max_length=255, index=True)
    trigger_data_json: dict = Field(default_factory=dict, sa_column=Column(JSON))


class JobRow(JobBase):
    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    status_str: str = Field(default="pending", index=True)
    result_data_json: dict | None = Field(default=None, sa_type=JSON)
    error_message_text: str | None = None
    started_at_time: datetime | None = time_column()
    completed_at_time: datetime | None = time_column()
    execution_time_seconds: float | None = None
    user_id: int | None = None
    created_at_time: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True), index=True)
    updated_at_time: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True), index=True)


class Job(JobRow, table=True):
    trigger_data_json: dict = Field(default_factory=dict, sa_type=JSON)


class JobCreate(JobBase):
    trigger_data_json: dict


class JobRead(JobRow):
    pass


URL = os.environ["STANDIN_URL"]
engine = create_async_engine(URL)
sessions = async_sessionmaker(engine, expire_on_commit=False)

if URL.startswith("sqlite"):

    @event.listens_for(engine.sync_engine, "connect")
    def _as_ours(connection, _):
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")


async def session():
    async with sessions() as one:
        yield one


@asynccontextmanager
async def lifespan(app):
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    async with sessions() as one:
        await _fill(one, int(os.environ["STANDIN_ROWS"]))
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ANALYZE")
    yield


async def _fill(one: AsyncSession, rows: int) -> None:
    chance, end = random.Random(1), datetime(2026, 11, 1, tzinfo=UTC)
    definitions = [Definition(name_str=f"流程 {number}") for number in range(200)]
    one.add_all(definitions)
    await one.flush()
    for number in range(rows):
        drawn, at = chance.random(), end - (rows - number) * timedelta(seconds=30)
        status = "completed" if drawn < 0.929 else "failed" if drawn < 0.979 else "cancelled"
        one.add(
            Job(
                ai_workflow_def_id=definitions[0 if chance.random() < 0.2 else chance.randrange(200)].id,
                job_name_str=f"问答 batch {number % 1000} {chance.getrandbits(32):08x}",
                trigger_data_json={"query": "什么是人工智能？", "top_k": number % 10},
                status_str=status,
                result_data_json={"prompt": {"prompt": "答" * 50}} if status == "completed" else None,
                started_at_time=at,
                completed_at_time=at,
                execution_time_seconds=chance.random() * 100,
                created_at_time=at,
                updated_at_time=at,
            )
        )
    await one.commit()


app = FastAPI(lifespan=lifespan)


@app.get("/ping")
async def ping():
    return {"status": "ok"}


@app.get("/api/v1/ai_workflow_def")
async def definitions(one: AsyncSession = Depends(session)):
    return {"id": (await one.execute(select(Definition.id).limit(1))).scalar_one()}


@app.post("/api/v1/ai_workflow_job", response_model=JobRead, status_code=201)
async def create(body: JobCreate, one: AsyncSession = Depends(session)):
    definition = await one.get(Definition, body.ai_workflow_def_id)
    if definition is None or not definition.is_active_flag:
        raise HTTPException(400, "There is no such definition.")
    job = Job.model_validate(body)
    one.add(job)
    await one.commit()
    await one.refresh(job)
    return job


@app.get("/api/v1/ai_workflow_job", response_model=list[JobRead])
async def list_jobs(
    one: AsyncSession = Depends(session),
    status: str | None = None,
    job_name: str | None = None,
    ai_workflow_def_id: uuid.UUID | None = None,
    limit: int = Query(100, ge=1, le=1000),
    offset: int = Query(0, ge=0),
):
    query = select(Job)
    if status:
        query = query.where(Job.status_str.in_(status.split(",")))
    if job_name:
        query = query.where(Job.job_name_str.ilike(f"%{job_name}%"))
    if ai_workflow_def_id:
        query = query.where(Job.ai_workflow_def_id == ai_workflow_def_id)
    found = await one.execute(query.order_by(Job.created_at_time.desc()).offset(offset).limit(limit))
    return found.scalars().all()


@app.get("/api/v1/ai_workflow_job/{pk}", response_model=JobRead)
async def read(pk: uuid.UUID, one: AsyncSession = Depends(session)):
    job = await one.get(Job, pk)
    if job is None:
        raise HTTPException(404, "There is no such job.")
    return job
