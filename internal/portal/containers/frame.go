package containers

import "github.com/latchkey/latchkey/internal/portal/page"

// Pattern is the path of a container app's pages in patterns of a mux.
const Pattern = pattern

// Frame is what pages of other packages about a container app need to know of it.
type Frame struct{ at }

// FrameOf reads the container app that a page is about from its address.
func FrameOf(v *page.Visit) Frame { return Frame{of(v)} }

// Path gives the path of the app in the management API, or of what is below it.
func (f Frame) Path(segments ...string) string { return f.path(segments...) }

// Content makes the frame of a page; tab is the text of the one that is shown.
func (f Frame) Content(v *page.Visit, tab, title string, data any) page.Content {
	return f.content(v, tab, title, data)
}
