package release

// Phase is how far a deployment has come as those see it who wait for its end.
// Deployment clients know the phases by these numbers.
type Phase int

const (
	Waiting    Phase = 0 // for the package
	Storing    Phase = 1 // checking and storing the package
	Activating Phase = 2 // telling the app
	Unfit      Phase = 3 // failed
	Succeeded  Phase = 4 // the app was told to run it
)

// Over reports whether nothing more will happen.
func (p Phase) Over() bool { return p >= Unfit }

// Phase gives the phase of a release and a text for people, "" for success. busy
// is what [Releases.Deploying] gave before the release was read: a release that is
// Ready is a success only when the app has been told of it.
func (r Release) Phase(busy string) (Phase, string) {
	switch {
	case r.Status == Failed:
		return Unfit, r.lastError()
	case r.Status == Pending:
		return Waiting, "Receiving the package."
	case r.Status == Building:
		return Storing, "Checking and storing the package."
	case r.ID == busy:
		return Activating, "Telling the app."
	case r.Activation != "":
		return Unfit, r.Activation
	}
	return Succeeded, ""
}

func (r Release) lastError() string {
	for i := len(r.Log) - 1; i >= 0; i-- {
		if r.Log[i].Error {
			return r.Log[i].Text
		}
	}
	return ""
}
