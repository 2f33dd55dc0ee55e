package containerapps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/latchkey/latchkey/internal/problem"
)

// Place is a container of a replica of a revision.
type Place struct {
	Revision, Replica, Container string
	logs, exec                   string // where its streams are
}

// Find finds a container: where nothing is said it is the revision that is ready,
// its first replica and the first main container. problem.NotFound says what there
// is.
func (c *Client) Find(ctx context.Context, a App, revision, replica, container string) (Place, error) {
	if revision == "" {
		if revision = a.Properties.LatestReady; revision == "" {
			revision = a.Properties.Latest
		}
	}
	list, err := c.Replicas(ctx, a, revision)
	if err != nil {
		return Place{}, err
	}
	if len(list) == 0 && a.Properties.Running == "Stopped" {
		return Place{}, problem.New(problem.NotFound, a.Name+" is stopped: nothing of it runs").WithNext("latchkey containerapp start " + a.Name)
	}
	if len(list) == 0 {
		return Place{}, problem.New(problem.NotFound, "no replica of revision "+revision+" runs").
			WithNext("it starts with the next request, or at once with latchkey containerapp update " + a.Name + " --min-replicas 1; see latchkey containerapp revision show " + a.Name + " --revision " + revision)
	}
	var names []string
	for _, r := range list {
		if replica == "" || r.Name == replica {
			return r.place(revision, container)
		}
		names = append(names, r.Name)
	}
	return Place{}, problem.New(problem.NotFound, fmt.Sprintf("revision %s has no replica %.100q", revision, replica)).WithNext("the replicas it has: " + strings.Join(names, ", "))
}

func (r Replica) place(revision, container string) (Place, error) {
	var names []string
	for _, c := range append(append([]Container{}, r.Properties.Containers...), r.Properties.Init...) {
		if container == "" || c.Name == container {
			return Place{revision, r.Name, c.Name, c.Logs, c.Exec}, nil
		}
		names = append(names, c.Name)
	}
	return Place{}, problem.New(problem.NotFound, fmt.Sprintf("replica %s has no container %.100q", r.Name, container)).WithNext("the containers it has: " + strings.Join(names, ", "))
}

// LogOptions say which lines are wanted.
type LogOptions struct {
	Follow bool
	Tail   int  // lines of the past
	JSON   bool // an object per line
}

// Logs copies the lines of a container.
func (c *Client) Logs(ctx context.Context, a App, of Place, o LogOptions, w io.Writer) error {
	return c.stream(ctx, a, of.logs, o, w)
}

// Events copies what happened to an app, an object per line.
func (c *Client) Events(ctx context.Context, a App, o LogOptions, w io.Writer) error {
	return c.stream(ctx, a, a.Properties.Events, o, w)
}

func (c *Client) stream(ctx context.Context, a App, at string, o LogOptions, w io.Writer) error {
	form := "text"
	if o.JSON {
		form = "json"
	}
	target, err := streamURL(at, url.Values{"follow": {strconv.FormatBool(o.Follow)}, "output": {form}, "tailLines": {strconv.Itoa(o.Tail)}})
	if err != nil {
		return err
	}
	head, err := c.streamToken(ctx, a)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	req.Header = head
	resp, err := c.arm.Transport().RoundTrip(req)
	if err != nil {
		return broken(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused(resp)
	}
	if _, err = io.Copy(w, resp.Body); err != nil {
		return broken(ctx, err)
	}
	return nil
}

// streamURL makes the address of a stream. The token of an app must not leave by
// anything but TLS.
func streamURL(at string, q url.Values) (*url.URL, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, problem.New(problem.Unsupported, "this installation has no streams of container apps")
	}
	u.RawQuery = q.Encode()
	return u, nil
}

// streamToken gets what opens the streams of an app.
func (c *Client) streamToken(ctx context.Context, a App) (http.Header, error) {
	var answer struct {
		Properties struct {
			Token string `json:"token"`
		} `json:"properties"`
	}
	err := c.arm.Do(ctx, http.MethodPost, path(a.ID+"/getAuthtoken"), nil, &answer)
	return http.Header{"Authorization": {"Bearer " + answer.Properties.Token}}, err
}

func broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return problem.Wrap(problem.Unavailable, "the stream broke off", err)
}

// refused makes an error of an answer without a stream.
func refused(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // what arrived says what there is to say
	kind := problem.Unavailable
	for k, status := range map[problem.Kind]int{
		problem.Invalid: http.StatusBadRequest, problem.NotFound: http.StatusNotFound, problem.Unauthenticated: http.StatusUnauthorized,
		problem.Denied: http.StatusForbidden, problem.Conflict: http.StatusConflict, problem.Unsupported: http.StatusNotImplemented,
	} {
		if resp.StatusCode == status {
			kind = k
		}
	}
	said := strings.TrimSpace(string(text))
	if said == "" {
		said = resp.Status
	}
	return problem.New(kind, "the stream is refused: "+said)
}

// Console is a command to run in a container.
type Console struct {
	Command string // as a shell splits it
	TTY     bool
	Stdin   io.Reader // nil: none
	Stdout  io.Writer
	Stderr  io.Writer
	// Width and Height are those of the terminal; 0 if there is none.
	Width, Height int
}

// First bytes of messages, as the platform has them.
var (
	inputPrefix  = []byte{0, 0}
	resizePrefix = []byte{0, 4}
)

// Exec runs a command in a container and gives its exit code. Reading Stdin goes
// on until it gives something, also after the command ended.
func (c *Client) Exec(ctx context.Context, a App, in Place, o Console) (int, error) {
	u, err := streamURL(in.exec, url.Values{"command": {o.Command}, "tty": {strconv.FormatBool(o.TTY)}})
	if err != nil {
		return 0, err
	}
	head, err := c.streamToken(ctx, a)
	if err != nil {
		return 0, err
	}
	conn, err := c.dial(ctx, u, head)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	s := &sender{conn: conn}
	if o.Width > 0 {
		size, _ := json.Marshal(map[string]int{"Width": o.Width, "Height": o.Height}) // it is two numbers
		_ = s.send(append(resizePrefix[:2:2], size...))                               // reading finds out
	}
	go s.input(o.Stdin)
	code, err := output(conn, o)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return code, err
}

func (c *Client) dial(ctx context.Context, u *url.URL, head http.Header) (*websocket.Conn, error) {
	u.Scheme = "wss"
	t := c.arm.Transport()
	tls := t.TLSClientConfig.Clone()
	tls.NextProtos = []string{"http/1.1"}
	d := websocket.Dialer{TLSClientConfig: tls, NetDialContext: t.DialContext, Proxy: t.Proxy, HandshakeTimeout: 30 * time.Second}
	conn, resp, err := d.DialContext(ctx, u.String(), head)
	if resp != nil {
		defer resp.Body.Close()
	}
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil:
		return nil, refused(resp)
	}
	return nil, broken(ctx, err)
}

// sender is where input goes. It is safe for concurrent use.
type sender struct {
	conn *websocket.Conn
	mu   sync.Mutex
}

func (s *sender) send(m []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn.WriteMessage(websocket.BinaryMessage, m)
}

// input sends what is typed, and an empty message at the end.
func (s *sender) input(from io.Reader) {
	buf := make([]byte, 32<<10)
	for from != nil {
		n, err := from.Read(buf)
		if n > 0 && s.send(append(inputPrefix[:2:2], buf[:n]...)) != nil {
			return
		}
		if err != nil {
			break
		}
	}
	_ = s.send(inputPrefix) // reading finds out
}

// output passes on what a command writes and gives its exit code.
func output(conn *websocket.Conn, o Console) (int, error) {
	said := ""
	for {
		_, m, err := conn.ReadMessage()
		if err != nil {
			return ended(err, said)
		}
		switch {
		case len(m) >= 2 && m[0] == 0 && m[1] == 1:
			_, err = o.Stdout.Write(m[2:])
		case len(m) >= 2 && m[0] == 0 && m[1] == 2:
			_, err = o.Stderr.Write(m[2:])
		case len(m) >= 1 && m[0] == 2:
			said = string(m[1:])
		}
		if err != nil {
			return 0, err
		}
	}
}

// ended reads how a stream was closed.
func ended(err error, said string) (int, error) {
	var end *websocket.CloseError
	if said != "" {
		return 0, problem.New(problem.Conflict, "the command was not run: "+said)
	}
	if !errors.As(err, &end) {
		return 0, problem.Wrap(problem.Unavailable, "the console broke off", err)
	}
	text, ok := strings.CutPrefix(end.Text, "exit code ")
	code, wrong := strconv.Atoi(text)
	if end.Code != websocket.CloseNormalClosure || ok && wrong != nil {
		return 0, problem.Wrap(problem.Unavailable, "the console broke off", err)
	}
	return code, nil
}
