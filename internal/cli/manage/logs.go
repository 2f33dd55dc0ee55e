package manage

import (
	"context"
	"strconv"
	"time"
)

// LogLine is a line of an app's log.
type LogLine struct {
	Time       time.Time `json:"time"`
	Level      string    `json:"level"` // Debug, Information, Warning or Error
	Source     string    `json:"source"`
	Function   string    `json:"function,omitempty"`
	Invocation string    `json:"invocationId,omitempty"`
	Message    string    `json:"message"`
}

// LogPart is what there is of a log, with the place at which it goes on.
type LogPart struct {
	Lines  []LogLine `json:"value"`
	After  string    `json:"after"`
	Missed int64     `json:"missed"`
	Node   string    `json:"node"`
	Others []string  `json:"others"` // nodes whose lines these are not
}

// LogQuery says which lines are wanted.
type LogQuery struct {
	Function, Level, Contains string
	Tail                      int    // of the past, when there is no After
	After                     string // what was given before; then it waits for lines
}

// logWait is how long a call waits for lines, in seconds.
const logWait = 20

// Log reads an app's log on one node.
func (i *Installation) Log(ctx context.Context, a App, q LogQuery) (p LogPart, err error) {
	pairs := []string{"function", q.Function, "level", q.Level, "contains", q.Contains}
	if q.After != "" {
		pairs = append(pairs, "after", q.After, "wait", strconv.Itoa(logWait))
	} else {
		pairs = append(pairs, "tail", strconv.Itoa(q.Tail))
	}
	err = i.get(ctx, query(idPath(a.ID)+"/logstream", pairs...), &p)
	return p, err
}
