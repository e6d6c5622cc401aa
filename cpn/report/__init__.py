"""The report of an evaluation: one HTML page that needs nothing else, and the same for TensorBoard.

`cpn.report.data` is what it is made of, plain numbers and names. Fill a `ReportData` and give it to
`cpn.report.page.write_report` or `cpn.report.tensorboard.log_report`; these two take a second to
import, as they draw with matplotlib.

Frame: keypoints are image pixels, integer = pixel centre; boxes are COCO's x, y, width, height.
Legend: K keypoints.
"""
