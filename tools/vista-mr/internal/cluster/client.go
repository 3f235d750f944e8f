package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/wire"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

// Client talks to a tracker.
type Client struct {
	URL   string
	Token string
	HTTP  *http.Client // nil: the usual one
}

// Submit hands a job in and returns what the tracker has made of it.
func (c *Client) Submit(ctx context.Context, r Request) (Job, error) {
	var out JobReply
	err := c.call(ctx, http.MethodPost, "/api/v1/jobs", r, &out)
	return out.Job, err
}

// Tracker asks a tracker about itself.
func (c *Client) Tracker(ctx context.Context) (Info, error) {
	var out Info
	err := c.call(ctx, http.MethodGet, "/api/v1/tracker", nil, &out)
	return out, err
}

// Jobs lists the tracker's jobs, the newest first.
func (c *Client) Jobs(ctx context.Context) ([]Job, error) {
	var out JobList
	err := c.call(ctx, http.MethodGet, "/api/v1/jobs", nil, &out)
	return out.Jobs, err
}

// Job looks a job up.
func (c *Client) Job(ctx context.Context, id string) (JobReply, error) { return c.job(ctx, id, "") }

func (c *Client) job(ctx context.Context, id, query string) (JobReply, error) {
	path, err := jobPath("status", id)
	if err != nil {
		return JobReply{}, err
	}
	var out JobReply
	err = c.call(ctx, http.MethodGet, path+query, nil, &out)
	if err == nil && out.Job.ID != id {
		err = c.unreachable(fmt.Errorf("its answer is about job %q, and not %q", out.Job.ID, id))
	}
	return out, err
}

var legalID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// jobPath is where the tracker tells of a job. What cannot be an id is refused here: as a part of a URL it would lead elsewhere.
func jobPath(op, id string) (string, error) {
	if !legalID.MatchString(id) {
		return "", exit.As(exit.Invalid, noJob(op, id))
	}
	return "/api/v1/jobs/" + url.PathEscape(id), nil
}

// killWait is how long Kill waits for the end of what it has ended: a driver has 10 s to end by itself (killAfter).
const killWait = 15 * time.Second

// Kill ends a job, and waits some time for that.
func (c *Client) Kill(ctx context.Context, id string) (KillReply, error) {
	path, err := jobPath("kill", id)
	if err != nil {
		return KillReply{}, err
	}
	var out KillReply
	err = c.call(ctx, http.MethodPost, path+"/kill?wait="+killWait.String(), struct{}{}, &out)
	return out, err
}

// Workers lists the tracker's workers.
func (c *Client) Workers(ctx context.Context) (WorkerList, error) {
	var out WorkerList
	err := c.call(ctx, http.MethodGet, "/api/v1/workers", nil, &out)
	return out, err
}

// Log writes what a job's drivers have logged from a byte on, and returns how many bytes there are then.
func (c *Client) Log(ctx context.Context, id string, from int64, w io.Writer) (int64, error) {
	path, err := jobPath("logs", id)
	if err != nil {
		return from, err
	}
	req, err := c.request(ctx, http.MethodGet, path+"/log", nil)
	if err != nil {
		return from, err
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := c.do(req)
	if err != nil {
		return from, err
	}
	defer resp.Body.Close() // it has been read
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return from, nil // nothing new
	}
	if resp.StatusCode >= 300 {
		return from, c.refusal(resp)
	}
	n, err := io.Copy(w, resp.Body)
	return from + n, err
}

// AttemptLogs are the logs of the attempts of a task, PHASE/TASK, or of one, PHASE/TASK/ATTEMPT.
func (c *Client) AttemptLogs(ctx context.Context, id, target string) ([]run.AttemptLog, error) {
	path, err := jobPath("logs", id)
	if err != nil {
		return nil, err
	}
	if _, _, err := attemptlog.Target(target, nil); err != nil { // of any phases
		return nil, exit.As(exit.Usage, err)
	}
	words := strings.Split(target, "/")
	for i := range words {
		words[i] = url.PathEscape(words[i])
	}
	var out LogsReply
	err = c.callFor(ctx, time.Minute, http.MethodGet, path+"/logs/"+strings.Join(words, "/"), nil, &out)
	return out.Attempts, err
}

// Patience is how long a job is followed on while its tracker does not answer.
const Patience = 2 * time.Minute

// Following is how a job is followed.
type Following struct {
	// Known: the tracker has just answered. If not, the first request must succeed, since nobody knows whether a tracker is there.
	Known bool
	See   func(JobReply)  // what is found, a few times a second
	Away  func(err error) // the tracker does not answer; called once each time; may be nil
}

// Follow looks at a job until it is over, and rides out that the tracker is away for a while, unless waiting cannot help (mistake). The tracker says at once that the job is over, and a few times a second
// how far it is. What Follow returns names the job, whatever has happened.
func (c *Client) Follow(ctx context.Context, id string, f Following) (Job, error) {
	const every = 300 * time.Millisecond
	heard, known, away := time.Now(), f.Known, false
	for {
		next := time.After(every)
		r, err := c.job(ctx, id, "?wait="+every.String())
		switch {
		case err == nil:
			heard, known, away = time.Now(), true, false
			f.See(r)
			if r.Job.State.Over() {
				return r.Job, nil
			}
		case ctx.Err() != nil:
			return Job{ID: id}, ctx.Err()
		case !known || !errs.Is(err, errs.Unreachable) || mistake(err) != "" || time.Since(heard) > Patience:
			return Job{ID: id}, err
		case !away && f.Away != nil:
			f.Away(err)
			away = true
		}
		select {
		case <-next:
		case <-ctx.Done():
			return Job{ID: id}, ctx.Err()
		}
	}
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	if err := checkURL(c.URL); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, body)
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return req, nil
}

func (c *Client) do(req *http.Request) (*http.Response, error) {
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	return resp, nil
}

func (c *Client) unreachable(err error) error {
	fix := cmp.Or(mistake(err), advice(err), "check that a tracker runs at this address (vista-mr tracker)")
	return exit.As(exit.Unreachable, &errs.Error{Op: "tracker", Kind: errs.Unreachable, ID: "E-TRACKER", Path: c.URL, Err: err, Fix: fix})
}

// call sends v and reads the answer into out.
func (c *Client) call(ctx context.Context, method, path string, v, out any) error {
	return c.callFor(ctx, 30*time.Second, method, path, v, out)
}

// callFor is call with a time that it may take.
func (c *Client) callFor(ctx context.Context, patience time.Duration, method, path string, v, out any) error {
	var body io.Reader
	if v != nil {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if v != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() // it has been read
	if resp.StatusCode >= 300 {
		return c.refusal(resp)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.unreachable(fmt.Errorf("its answer: %w", err))
	}
	return nil
}

// refusal is what the tracker says when it does not do what it is asked.
func (c *Client) refusal(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return c.unreachable(err)
	}
	var r struct{ Error *errs.Error }
	if json.Unmarshal(b, &r) == nil && r.Error != nil {
		class := exit.Invalid
		if resp.StatusCode >= 500 {
			class = exit.Unreachable
		}
		return exit.As(class, r.Error)
	}
	said := wire.NewStatusError(resp, b)
	e := &errs.Error{Op: "tracker", Kind: errs.Unreachable, ID: "E-TRACKER", Path: c.URL, Err: said, Fix: mistake(said)}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Kind, e.Fix = errs.Unauthorized, "set $"+TokenVariable+" or --token-file to the tracker's token"
	default:
		if e.Fix != "" {
			e.Kind = errs.Invalid
		}
		e.Fix = cmp.Or(e.Fix, advice(said))
	}
	return exit.As(exit.Unreachable, e)
}

// endedError is a job's failure as an error with the exit code that its driver ended with.
type endedError struct {
	job  Job
	said struct {
		ID    string `json:"id"`
		Cause string `json:"cause"`
		Input string `json:"input"`
		Next  string `json:"next"`
	}
}

// Outcome is the error that a job has ended with, or nil.
func (j Job) Outcome() error {
	if j.State == Succeeded || !j.State.Over() {
		return nil
	}
	e := &endedError{job: j}
	if err := json.Unmarshal(j.Failure, &e.said); err != nil || e.said.Cause == "" {
		e.said.ID, e.said.Cause = "E-JOB", fmt.Sprintf("the job has %s", j.State)
	}
	if e.said.ID == "E-BAD-RECORDS" {
		return exit.As(exit.Class(max(1, j.ExitCode)), &summedUp{e})
	}
	return exit.As(exit.Class(max(1, j.ExitCode)), e)
}

func (e *endedError) Error() string   { return e.said.Cause }
func (e *endedError) ErrorID() string { return e.said.ID }
func (e *endedError) Hint() string    { return e.said.Next }
func (e *endedError) Input() string   { return e.said.Input }

// Failure is the whole of it, as the commands print it with -o json.
func (e *endedError) Failure() json.RawMessage { return e.job.Failure }

// summedUp is a failure whose last line says it all.
type summedUp struct{ *endedError }

// Summarized says so.
func (*summedUp) Summarized() {}
